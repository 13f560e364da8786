"""The command line `wildcast`: submit requests, watch them, and read what they have published."""

import sys

_INTERRUPTED = 130
"""As `exits.ExitCode` has it, which is not imported yet."""


def main() -> None:
    """Run the command line, and leave with its exit code."""
    try:
        from wildcast.cli.program import run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(run())
