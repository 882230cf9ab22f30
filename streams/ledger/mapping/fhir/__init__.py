"""FHIR R4 resources to the same drafts of events that HL7 v2 becomes (rules T27, M7)."""
