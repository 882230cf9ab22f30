"""Benchmarks: what the line's parts do a second, as ratios to the plain way within one run."""
