"""An output directory, ready to be published."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wildcast.contract.manifest import Dataset
from wildcast.contract.naming import InvalidPathError, check_key
from wildcast_server.errors import FileChangedError, UnpublishableFileError
from wildcast_server.publish.consolidate import consolidate
from wildcast_server.publish.datasets import find_datasets
from wildcast_server.publish.scan import scan
from wildcast_server.transfer.files import LocalFile


@dataclass(frozen=True)
class Output:
    """What a directory holds, as its last scan found it: that scan is the truth."""

    directory: Path
    files: tuple[LocalFile, ...]
    datasets: tuple[Dataset, ...]

    def check_unchanged(self) -> None:
        """Raise `FileChangedError` if anything was written, added or removed since the scan."""
        now = scan(self.directory)
        if tuple(now) != self.files:
            path = _first_difference(self.files, now)
            raise FileChangedError(f"{path} changed while the directory was being published; end the writing before")


def prepare(directory: Path) -> Output:
    """Consolidate zarr metadata where there is none, and list the files.

    Raises
    ------
    UnpublishableFileError, EmptyOutputError
        As `scan` has them.
    """
    files = scan(directory)
    if consolidate(directory, files):
        files = scan(directory)
    return Output(Path(directory), tuple(files), find_datasets(files))


def check_name(name: str) -> str:
    """Return `name` if it is one plain segment of a key, so that no publication lies within another.

    Raises
    ------
    UnpublishableFileError
        If it is not.
    """
    try:
        check_key(name)
    except InvalidPathError as error:
        raise UnpublishableFileError(f"{name!r} cannot be a publication's name: {error}") from error
    if "/" in name or name.startswith(".wildcast"):
        raise UnpublishableFileError(f"{name!r} cannot be a publication's name: it must be one plain segment")
    return name


def _first_difference(before: Sequence[LocalFile], now: Sequence[LocalFile]) -> str:
    different = set(before).symmetric_difference(now)
    return min(file.path for file in different)
