"""One process at a time: locks that the operating system gives back when their holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wildcast_server.errors import PublicationError, SettingsError
from wildcast_server.wiring.identity import unwritable

LOCK_FILE = "serve.lock"


@contextmanager
def sole_service(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir` for this process.

    A second service would take up what the first one is running, and both would write the same output directory.

    Raises
    ------
    SettingsError
        If another process holds it, or it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable("data_dir", data_dir, error) from error
    try:
        _lock(descriptor)
    except OSError as error:
        raise SettingsError(
            f"data_dir {data_dir} cannot be locked ({error.strerror}): another wildcast-server may be using it; "
            "stop that one, or set another data_dir"
        ) from error
    else:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def sole_publisher(directory: Path) -> Iterator[None]:
    """Hold a directory while it is published; one that cannot be opened is left to the publisher to refuse.

    Raises
    ------
    PublicationError
        If another process holds it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        _lock(descriptor)
    except BlockingIOError as error:
        raise PublicationError(f"{directory} is being published by another process: wait for its end") from error
    else:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
