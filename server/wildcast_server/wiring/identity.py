"""What names this machine, its disk, and each of its workers, over every restart."""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from wildcast_server.errors import SettingsError
from wildcast_server.settings import Settings
from wildcast_server.usecases.identity import Identity

INSTANCE_FILE = "instance"
SITE_FILE = ".site"
MAX_SLOTS = 1024


@contextmanager
def take_slot(settings: Settings, label: str) -> Iterator[Identity]:
    """Be a worker: of those that are called `label` on this machine, the first that no living process is.

    The lock is given back when this process ends, however it ends; so whoever takes the name next knows that.

    Raises
    ------
    SettingsError
        If `data_dir` or `output_dir` cannot be written.
    """
    directory = settings.data_dir / "workers"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        slot, descriptor = _first_free(directory, label)
    except OSError as error:
        raise unwritable("data_dir", settings.data_dir, error) from error
    try:
        yield Identity(
            host=socket.gethostname(),
            instance=instance_of(settings),
            site=site_of(settings),
            label=label,
            slot=slot,
            is_free=partial(_is_free, directory),
        )
    finally:
        os.close(descriptor)


def instance_of(settings: Settings) -> str:
    """Return the name of `data_dir`, which its first user gives it: two containers may have one host name."""
    try:
        return _name_in(settings.data_dir / INSTANCE_FILE)
    except OSError as error:
        raise unwritable("data_dir", settings.data_dir, error) from error


def site_of(settings: Settings) -> str:
    """Return the name of the disk of `output_dir`, which its first user gives it: machines may share that."""
    try:
        return _name_in(settings.output_dir / SITE_FILE)
    except OSError as error:
        raise unwritable("output_dir", settings.output_dir, error) from error


def _first_free(directory: Path, label: str) -> tuple[int, int]:
    for slot in range(MAX_SLOTS):
        descriptor = os.open(directory / f"{label}-{slot}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return slot, descriptor
    raise SettingsError(f"{MAX_SLOTS} workers have locked {directory}: no more can share one data_dir")


def _is_free(directory: Path, name: str) -> bool:
    try:
        descriptor = os.open(directory / f"{name}.lock", os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _name_in(path: Path) -> str:
    """Read the name in a file, which is made with a new one if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside it and linked: whoever finds the file finds a whole name in it, also after a crash.
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        with fresh.open("w") as file:
            file.write(secrets.token_hex(4))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


def unwritable(setting: str, path: Path, error: OSError) -> SettingsError:
    """Return what is said of a directory that cannot be used."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return SettingsError(
            f"{setting} {path} cannot be used: {error.filename or path} is no directory; set another one"
        )
    return SettingsError(
        f"{setting} {path} cannot be written ({error.strerror}): correct its permissions, or set another one"
    )
