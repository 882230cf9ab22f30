"""One target under atheris: what `run` starts as a process of its own, which ends as it says."""

import sys

import atheris

with atheris.instrument_imports(include=["streams.ledger.mapping", "producers"]):
    from tests.fuzz import targets


def main() -> None:
    """Fuzz the target that is named first; the rest of the command line is libFuzzer's."""
    program, name, *rest = sys.argv
    atheris.Setup([program, *rest], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
