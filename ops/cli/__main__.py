"""Runs the command line as `python -m ops.cli`, as the line starts its own processes."""

from ops.cli import main

if __name__ == "__main__":
    main(prog_name="wardtrail")
