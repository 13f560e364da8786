"""Removing output directories: what was published where it is, and nothing that others put beside it."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOVED_PATH = f"{RESERVED}/removed"
"""Says of a directory that its publication was removed: what is left in it is somebody else's."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_directory(directory: Path) -> bool:
    """Remove an output directory; return whether nothing of it is left.

    Of one that was published where it is, what the manifest lists is removed, and the manifest last: whoever is killed
    in between leaves it for the next to go on. Any other was written by the workflow alone, and goes as a whole. Links
    are never followed.

    Raises
    ------
    OSError
        If something cannot be removed.
    ManifestError
        If the manifest cannot be read; then nothing is removed.
    """
    if not directory.is_dir() or directory.is_symlink():
        return not directory.is_symlink()
    if (directory / MANIFEST_PATH).is_file():
        _remove_listed(directory)
    elif not (directory / REMOVED_PATH).is_file():
        shutil.rmtree(directory)
        return True
    return _tidy(directory)


def remove_empty(directory: Path) -> None:
    """Remove directories below this one that have no file in them, and itself if nothing is left."""
    for _, names, _, here in os.fwalk(directory, topdown=False, follow_symlinks=False):
        for name in names:
            with suppress(OSError):
                os.rmdir(name, dir_fd=here)
    with suppress(OSError):
        directory.rmdir()


def _remove_listed(directory: Path) -> None:
    manifest = decode_manifest((directory / MANIFEST_PATH).read_bytes())
    _unlink(directory, [row.path for row in manifest.rows])
    # First: without manifest and without this, all that is left would look like the workflow's.
    (directory / REMOVED_PATH).touch()
    (directory / MANIFEST_PATH).unlink()


def _tidy(directory: Path) -> bool:
    """Remove what is empty now; leave whatever there is besides."""
    remove_empty(directory)
    is_all_ours = not any(path.name != RESERVED for path in directory.iterdir())
    if is_all_ours:
        shutil.rmtree(directory)
    return is_all_ours


def _unlink(root: Path, paths: Iterable[str]) -> None:
    """Remove files; one that lies behind a link is not the one that was published."""
    by_parent: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in map(PurePosixPath, paths):
        by_parent[path.parent].append(path.name)
    for parent, names in by_parent.items():
        with suppress(FileNotFoundError, NotADirectoryError), _opened(root, parent) as here:
            for name in names:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=here)


@contextmanager
def _opened(root: Path, parent: PurePosixPath) -> "Iterator[int]":
    """Open a directory below `root`, step by step so that no step is a link."""
    here = os.open(root, _DIRECTORY)
    try:
        for part in parent.parts:
            deeper = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = deeper
        yield here
    finally:
        os.close(here)
