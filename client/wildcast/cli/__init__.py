"""The command line `wildcast`: submit requests, watch them, and read what they have published."""

import sys


def main() -> None:
    """Run the command line, and leave with its exit code."""
    from wildcast.cli.program import run

    sys.exit(run())
