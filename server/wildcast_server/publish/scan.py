"""List what an output directory holds, and refuse what cannot become an object."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wildcast.contract.manifest import MAX_FILES, ManifestError, decode_manifest
from wildcast.contract.naming import MANIFEST_PATH, RESERVED, InvalidPathError, check_key
from wildcast_server.errors import EmptyOutputError, UnpublishableFileError
from wildcast_server.transfer.files import LocalFile

PARTIAL_MANIFEST = "manifest.json.gz.partial"
"""What publishing in place writes before it renames it."""

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def scan(directory: Path, *, may_be_empty: bool = False) -> list[LocalFile]:
    """List the files below `directory` in byte order of their paths, dotfiles and empty ones included.

    Links are followed as long as they stay inside. A reserved directory in which there is nothing but a manifest of
    ours, from publishing in place, is passed over.

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
    files: list[LocalFile] = []
    for file in _walk(_Directory(root, root, "", frozenset({_identity(about)}))):
        if len(files) == MAX_FILES:
            raise UnpublishableFileError(f"{directory} has more than {MAX_FILES:,} files; write larger chunks")
        files.append(file)
    if not files and not may_be_empty:
        raise EmptyOutputError(
            f"the output directory {root.name} is empty: nothing was written there that could be published "
            "(a workflow writes into context.output_directory)"
        )
    files.sort(key=lambda file: file.path.encode())
    return files


@dataclass(frozen=True)
class _Directory:
    root: Path
    real: Path
    """Where it is, without any link."""
    path: str
    """Relative to the root, as published."""
    above: frozenset[tuple[int, int]] = field(repr=False)
    """The identities of this directory and of those that led here."""


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _walk(top: _Directory) -> Iterator[LocalFile]:
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        for entry in _entries(directory):
            found = _look(directory, entry)
            if isinstance(found, LocalFile):
                yield found
            elif found is not None:
                waiting.append(found)


def _entries(directory: _Directory) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory.real) as entries:
            return list(entries)
    except OSError as error:
        raise _refused(
            directory.path or str(directory.real), f"the directory cannot be read: {error.strerror}"
        ) from error


def _look(directory: _Directory, entry: os.DirEntry[str]) -> "LocalFile | _Directory | None":
    path = _check_name(f"{directory.path}/{entry.name}" if directory.path else entry.name)
    if path == RESERVED:
        if _is_ours(Path(entry.path)):
            return None
        raise _refused(path, "the name is reserved for wildcast itself; the workflow must not write it")
    try:
        real = _follow(directory.root, Path(entry.path), path) if entry.is_symlink() else Path(entry.path)
        about = real.lstat()
    except OSError as error:
        raise _refused(path, error.strerror or "it disappeared") from error
    if stat.S_ISDIR(about.st_mode):
        return _subdirectory(directory, real, path, about)
    return _file(real, path, about)


def _check_name(path: str) -> str:
    try:
        return check_key(path)
    except InvalidPathError as error:
        raise _refused(repr(path)[:200], f"no object can have this name: {error}") from error


def _is_ours(reserved: Path) -> bool:
    """Tell our own from a workflow's: nothing but a manifest that can be decoded, or one that was being written."""
    if reserved.is_symlink() or not reserved.is_dir():
        return False
    manifest = reserved.parent / MANIFEST_PATH
    names = {entry.name for entry in reserved.iterdir()}
    if not names <= {manifest.name, PARTIAL_MANIFEST} or manifest.is_symlink():
        return False
    try:
        return manifest.name not in names or bool(decode_manifest(manifest.read_bytes()))
    except (OSError, ManifestError):
        return False


def _follow(root: Path, link: Path, path: str) -> Path:
    try:
        real = link.resolve(strict=True)
    except FileNotFoundError as error:
        raise _refused(path, "the link leads nowhere") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise _refused(path, "the link leads in a circle") from error
    if not real.is_relative_to(root):
        raise _refused(path, "the link leaves the output directory")
    return real


def _subdirectory(parent: _Directory, real: Path, path: str, about: os.stat_result) -> _Directory:
    identity = _identity(about)
    if identity in parent.above:
        raise _refused(path, "the link leads in a circle")
    return _Directory(parent.root, real, path, parent.above | {identity})


def _file(real: Path, path: str, about: os.stat_result) -> LocalFile:
    if not stat.S_ISREG(about.st_mode):
        kind = next((name for test, name in _KINDS if test(about.st_mode)), "something special")
        raise _refused(path, f"it is {kind}, not a file")
    if not os.access(real, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _refused(path, "the file cannot be read: Permission denied")
    return LocalFile(path, real, about.st_size, about.st_mtime_ns, about.st_dev, about.st_ino)


def _refused(path: str, reason: str) -> UnpublishableFileError:
    return UnpublishableFileError(f"{path} cannot be published: {reason}")
