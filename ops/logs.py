"""Logging of our processes: one line per record, on standard error, never a patient's data."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What libraries tell at INFO would drown what we tell; their warnings stand.
_QUIET = ("faust", "mode", "aiokafka", "httpx2", "httpcore2", "alembic", "psycopg.pool")


def configure(level: str) -> None:
    """Log at ``level``; libraries only from WARNING on."""
    logging.basicConfig(level=level.upper(), format=FORMAT)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
