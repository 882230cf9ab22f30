"""Events, topics, Avro contracts, sealing, identities: what every other room speaks."""
