"""Applies changes and moves the subscription together; the only room that reaches PostgreSQL."""
