"""One service at a time in a data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wildcast_server.errors import SettingsError

LOCK_FILE = "serve.lock"


@contextmanager
def sole_service(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir` for this process; the operating system lets go of it when the process ends, however it ends.

    A second service would take up what the first one is running, and both would write the same output directory.

    Raises
    ------
    SettingsError
        If another process holds it, or it cannot be written.
    """
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SettingsError(
            f"data_dir {data_dir} cannot be written ({error.strerror}): correct its permissions, or set another one"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SettingsError(
            f"data_dir {data_dir} cannot be locked ({error.strerror}): another wildcast-server may be using it; "
            "stop that one, or set another data_dir"
        ) from error
    else:
        yield
    finally:
        os.close(descriptor)
