"""The note that says whether a workflow was called; its process writes it right before."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NOT_CALLED, CALLED = b"-", b"+"


@contextmanager
def noting(path: str | os.PathLike[str] | None) -> Iterator[Callable[[], None]]:
    """Prepare a note, and give what writes it: it overwrites one byte of a file that is open.

    So there is little between the note and the call, and no room on the disk is needed at that moment. A note that
    cannot be written costs no run.
    """
    descriptor = -1
    if path is not None:
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            os.write(descriptor, NOT_CALLED)

    def note() -> None:
        with suppress(OSError):
            os.pwrite(descriptor, CALLED, 0)

    try:
        yield note
    finally:
        with suppress(OSError):  # none was opened, or the workflow closed what it did not open
            os.close(descriptor)


def was_called(path: Path) -> bool:
    """Whether the workflow was called, or may have been: only a note that was prepared and not written says no.

    Where there is none, it was not loaded.
    """
    try:
        return path.read_bytes() != NOT_CALLED
    except FileNotFoundError:
        return False
    except OSError:
        return True
