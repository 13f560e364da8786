"""List what an output directory holds, and refuse what cannot become an object."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from wildcast.contract.manifest import MAX_FILES, ManifestError, decode_manifest
from wildcast.contract.naming import MANIFEST_PATH, RESERVED, InvalidPathError, check_key, check_keys
from wildcast_server.errors import EmptyOutputError, UnpublishableFileError
from wildcast_server.transfer.files import LocalFile
from wildcast_server.transfer.mark import MARK_PATH, PARTIAL_MARK_PATH, read_mark

PARTIAL_MANIFEST = "manifest.json.gz.partial"
"""What publishing in place writes before it renames it."""

_OURS = {Path(path).name for path in (MANIFEST_PATH, PARTIAL_MANIFEST, MARK_PATH, PARTIAL_MARK_PATH)}

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def scan(directory: Path, *, may_be_empty: bool = False) -> list[LocalFile]:
    """List the files below `directory` in byte order of their paths, dotfiles and empty ones included.

    Links are followed as long as they stay inside. A reserved directory in which there is nothing but what is ours,
    a manifest from publishing in place and the mark of what was streamed, is passed over.

    Raises
    ------
    UnpublishableFileError
        Naming the path and the reason: a link that leaves the directory, leads nowhere or in a circle; a FIFO, socket
        or device; something unreadable; a name that no key can have, or that is reserved; over 1,000,000 files.
    EmptyOutputError
        If there is no file, unless there may be none.
    """
    try:
        root = Path(directory).resolve(strict=True)
        about = root.stat()
    except OSError as error:
        raise UnpublishableFileError(f"{directory} cannot be published: {error.strerror}") from error
    if not stat.S_ISDIR(about.st_mode):
        raise UnpublishableFileError(f"{directory} cannot be published: it is not a directory")
    files = _files(_Directory(root, str(root), "", frozenset({_identity(about)})))
    if not files and not may_be_empty:
        raise EmptyOutputError(
            f"the output directory {root.name} is empty: nothing was written there that could be published "
            "(a workflow writes into context.output_directory)"
        )
    # In order of code points, which is that of the bytes of UTF-8.
    files.sort(key=_path)
    _check_names(files)
    return files


_path = attrgetter("path")


@dataclass(frozen=True)
class _Directory:
    root: Path
    real: str
    """Where it is, without any link."""
    start: str
    """Of the paths of what is in it, as published: empty, or with a slash at its end."""
    above: frozenset[tuple[int, int]] = field(repr=False)
    """The identities of this directory and of those that led here."""


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _files(top: _Directory) -> list[LocalFile]:
    files: list[LocalFile] = []
    waiting = [top]
    while waiting:
        waiting += _look_into(waiting.pop(), files)
        if len(files) > MAX_FILES:
            raise UnpublishableFileError(f"{top.real} has more than {MAX_FILES:,} files; write larger chunks")
    return files


def _look_into(directory: _Directory, files: list[LocalFile]) -> list[_Directory]:
    """Add the files of one directory to `files`; return the directories in it."""
    found: list[_Directory] = []
    start, is_top = directory.start, not directory.start
    for entry in _entries(directory):
        path = start + entry.name
        if is_top and path == RESERVED:
            _check_reserved(entry, path)
            continue
        try:
            location = _follow(directory.root, Path(entry.path), path) if entry.is_symlink() else entry.path
            about = entry.stat()
        except OSError as error:
            raise _refused(path, error.strerror or "it disappeared") from error
        mode = about.st_mode
        if stat.S_ISREG(mode):
            _check_readable(location, path, mode)
            files.append(
                LocalFile(
                    path,
                    location,
                    about.st_size,
                    about.st_mtime_ns,
                    about.st_dev,
                    about.st_ino,
                    about.st_ctime_ns,
                )
            )
        elif stat.S_ISDIR(mode):
            found.append(_subdirectory(directory, location, path, about))
        else:
            kind = next((name for test, name in _KINDS if test(mode)), "something special")
            raise _refused(path, f"it is {kind}, not a file")
    return found


def _entries(directory: _Directory) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory.real) as entries:
            return list(entries)
    except OSError as error:
        raise _refused(
            directory.start.rstrip("/") or directory.real, f"the directory cannot be read: {error.strerror}"
        ) from error


def _check_names(files: Sequence[LocalFile]) -> None:
    try:
        check_keys([file.path for file in files])
    except InvalidPathError:
        for file in files:
            _check_name(file.path)


def _check_name(path: str) -> None:
    try:
        check_key(path)
    except InvalidPathError as error:
        raise _refused(path, f"no object can have this name: {error}") from error


def _check_reserved(entry: os.DirEntry[str], path: str) -> None:
    if not _is_ours(Path(entry.path)):
        raise _refused(path, "the name is reserved for wildcast itself; the workflow must not write it")


def _is_ours(reserved: Path) -> bool:
    """Tell our own from a workflow's: nothing but a manifest and a mark that can be decoded, or are being written."""
    if reserved.is_symlink() or not reserved.is_dir():
        return False
    manifest = reserved.parent / MANIFEST_PATH
    names = {entry.name for entry in reserved.iterdir()}
    if not names <= _OURS or any((reserved / name).is_symlink() for name in names):
        return False
    try:
        read_mark(reserved.parent)
        return manifest.name not in names or bool(decode_manifest(manifest.read_bytes()))
    except (OSError, ValueError, ManifestError):
        return False


def _follow(root: Path, link: Path, path: str) -> str:
    try:
        real = link.resolve(strict=True)
    except FileNotFoundError as error:
        raise _refused(path, "the link leads nowhere") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise _refused(path, "the link leads in a circle") from error
    if not real.is_relative_to(root):
        raise _refused(path, "the link leaves the output directory")
    return str(real)


def _subdirectory(parent: _Directory, real: str, path: str, about: os.stat_result) -> _Directory:
    identity = _identity(about)
    if identity in parent.above:
        raise _refused(path, "the link leads in a circle")
    return _Directory(parent.root, real, f"{path}/", parent.above | {identity})


def _check_readable(location: str, path: str, mode: int) -> None:
    """Refuse early what cannot be read; who asks the system for each file pays for it."""
    if mode & stat.S_IROTH:
        return
    if not os.access(location, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _refused(path, "the file cannot be read: Permission denied")


def _refused(path: str, reason: str) -> UnpublishableFileError:
    shown = path if path.isprintable() else repr(path)[:200]
    return UnpublishableFileError(f"{shown} cannot be published: {reason}")
