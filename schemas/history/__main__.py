"""Freezes the present schemas as history: ``python -m schemas.history``."""

import sys

from schemas.history import Incompatible, freeze


def main() -> int:
    """Freeze what is new; 0 done, 1 a schema doesn't fit the versions before it."""
    try:
        for subject, number in freeze():
            sys.stdout.write(f"frozen: {subject} {number}\n")
    except Incompatible as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
