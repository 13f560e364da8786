"""Tell which files of a directory that is being written nobody writes any more."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wildcast.contract.naming import RESERVED, InvalidPathError, check_key, is_metadata
from wildcast_server.transfer.files import LocalFile

SETTLED_NS = 300_000_000
"""How long a file must have been left alone, in nanoseconds.

Far more than the tick of the kernel's clock (up to 10 ms): what is written within the tick of an earlier look would
not change the modification time.
"""

_WHOLE_SECONDS = 1_000_000_000
_COARSE_NS = 2_000_000_000
"""How much longer a file must rest whose time may have been rounded to seconds, as some file systems keep it."""

_UPLOADS_SLOW_DOWN = 10
"""A file that was rewritten after it had been uploaded must rest so many times longer before it is once more."""


class Settling:
    """Looks at a directory again and again.

    A file is settled if it is as it was at the look before, has rested, and no process of the group that writes has it
    open for writing or mapped so that writing needs no call. Metadata, links and what cannot become an object never
    are: they are left to the final scan, which is the truth about all of them.

    Parameters
    ----------
    directory
        Need not be there yet.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._clock = self._directory.parent / f".{self._directory.name}.clock"
        self._seen: dict[str, LocalFile] = {}
        self._uploads: dict[str, int] = {}

    @staticmethod
    def is_possible() -> bool:
        """Whether this system tells who writes: else a mapped file could change without a trace."""
        return Path("/proc/self/fdinfo").is_dir()

    @property
    def seen(self) -> "dict[str, LocalFile]":
        """What the latest look found, by path."""
        return self._seen

    def look(self, group: int | None) -> list[LocalFile]:
        """Return what is settled now, the oldest first.

        Parameters
        ----------
        group
            The process group of those who write.

        Raises
        ------
        OSError
            If the file system does not tell its time.
        """
        root = self._directory.resolve()
        now = self._now()
        before, self._seen = self._seen, {file.path: file for file in _walk(root)}
        rested = [file for file in self._seen.values() if before.get(file.path) == file and self._has_rested(file, now)]
        if not rested:
            return []
        written = set(_written(root, group)) if group is not None else set()
        settled = [file for file in rested if file.location not in written]
        return sorted(settled, key=lambda file: file.mtime_ns)

    def uploaded(self, path: str) -> None:
        """Note that a file was uploaded."""
        self._uploads[path] = self._uploads.get(path, 0) + 1

    def close(self) -> None:
        """Remove what the clock needed."""
        with suppress(OSError):
            self._clock.unlink()

    def _has_rested(self, file: LocalFile, now: int) -> bool:
        wanted: int = SETTLED_NS * _UPLOADS_SLOW_DOWN ** self._uploads.get(file.path, 0)
        if file.mtime_ns % _WHOLE_SECONDS == 0:
            wanted += _COARSE_NS
        return now - file.mtime_ns >= wanted

    def _now(self) -> int:
        """Return the time in ns by the clock that gives files their times, which may be another machine's."""
        self._clock.touch()
        return self._clock.stat().st_mtime_ns


def _walk(root: Path) -> Iterator[LocalFile]:
    """Find regular files; what disappears or cannot be read meanwhile is passed over."""
    waiting = [(str(root), "")]
    while waiting:
        directory, inside = waiting.pop()
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                path = f"{inside}{entry.name}"
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(about.st_mode):
                        if path != RESERVED:
                            waiting.append((entry.path, f"{path}/"))
                    elif stat.S_ISREG(about.st_mode) and _may_go_first(path):
                        yield LocalFile(
                            path,
                            entry.path,
                            about.st_size,
                            about.st_mtime_ns,
                            about.st_dev,
                            about.st_ino,
                            about.st_ctime_ns,
                        )


def _may_go_first(path: str) -> bool:
    try:
        return not is_metadata(check_key(path))
    except InvalidPathError:
        return False


def _written(root: Path, group: int) -> Iterator[str]:
    """Find the files below `root` that processes of `group` have open for writing, or mapped shared and writable."""
    inside = f"{root}/"
    # Here: whoever publishes what has been written long since needs nothing of running workflows.
    from wildcast_server.jobs.family import members

    for process in members(group):
        with suppress(OSError):
            yield from _opened(process, inside)
        with suppress(OSError):
            yield from _mapped(process, inside)


def _opened(process: Path, inside: str) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith(inside) and _for_writing(process / "fdinfo" / descriptor.name):
                yield target


def _for_writing(info: Path) -> bool:
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "flags":
            return int(value, 8) & os.O_ACCMODE != os.O_RDONLY
    return True


def _mapped(process: Path, inside: str) -> Iterator[str]:
    for line in os.fsdecode((process / "maps").read_bytes()).splitlines():
        _, _, path = line.partition("/")
        # Behind the address stand the permissions, of which the last is "s" where it is shared: proc_pid_maps(5).
        permissions = line.split(maxsplit=2)[1]
        if permissions[1] == "w" and permissions[3] == "s" and f"/{path}".startswith(inside):
            yield f"/{path}"
