"""Real servers for a machine without Docker: Kafka, a schema registry and PostgreSQL."""
