"""Verification: was it done, who says so, as of when; a pure judge over facts (rules V1 to V13)."""
