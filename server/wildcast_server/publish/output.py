"""An output directory, ready to be published."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wildcast.contract.manifest import Dataset
from wildcast.contract.naming import InvalidPathError, check_key, is_metadata
from wildcast_server.errors import FileChangedError, PublicationError, UnpublishableFileError
from wildcast_server.publish.consolidate import consolidate
from wildcast_server.publish.datasets import find_datasets
from wildcast_server.publish.scan import scan
from wildcast_server.publish.streamed import check_streamed, mark_of
from wildcast_server.transfer.files import LocalFile
from wildcast_server.transfer.ledger import LedgerRow
from wildcast_server.transfer.mark import StreamMark

_NOTHING: Mapping[str, LedgerRow] = MappingProxyType({})


@dataclass(frozen=True)
class Output:
    """What a directory holds, as its last scan found it: that scan is the truth."""

    directory: Path
    files: tuple[LocalFile, ...]
    datasets: tuple[Dataset, ...]
    streamed: tuple[LedgerRow, ...] = ()
    """What the workflow wrote into the store itself, and never was on disk."""
    mark: StreamMark | None = None
    """What the directory says of that."""

    def check_unchanged(self) -> None:
        """Raise `FileChangedError` if anything was written, added or removed since the scan."""
        now = scan(self.directory, may_be_empty=bool(self.streamed))
        if tuple(now) != self.files:
            path = _first_difference(self.files, now)
            raise FileChangedError(f"{path} changed while the directory was being published; end the writing before")

    @property
    def number(self) -> int:
        """How many files are to be published."""
        return len(self.files) + len(self.streamed)

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(file.size for file in self.files) + sum(row.size for row in self.streamed)

    def paths(self) -> list[str]:
        """Return the path of all that is to be published, in the manifest's order."""
        on_disk = [file.path for file in self.files]
        return sorted([*on_disk, *(row.path for row in self.streamed)]) if self.streamed else on_disk

    def all_but(self, stored: Container[str]) -> tuple[list[LocalFile], list[LocalFile]]:
        """Return the files that are not `stored`: those with data, and those that describe them."""
        data: list[LocalFile] = []
        metadata: list[LocalFile] = []
        for file in self.files:
            if file.path not in stored:
                (metadata if is_metadata(file.path) else data).append(file)
        return data, metadata

    def sizes(self) -> list[tuple[str, int]]:
        """Return the path and size of all that is to be published, in the manifest's order."""
        both = [(file.path, file.size) for file in self.files] + [(row.path, row.size) for row in self.streamed]
        return sorted(both, key=lambda one: one[0].encode()) if self.streamed else both


def prepare(directory: Path, streamed: Mapping[str, LedgerRow] = _NOTHING) -> Output:
    """Consolidate zarr metadata where there is none, and list the files.

    Parameters
    ----------
    directory
        What the workflow wrote on disk; it may be empty if anything was streamed.
    streamed
        What it wrote into the store itself, by path.

    Raises
    ------
    UnpublishableFileError, EmptyOutputError
        As `scan` has them.
    PublicationError
        If a path was both streamed and written on disk, or `streamed` is not what the directory says was streamed.
    """
    mark = mark_of(directory)
    check_streamed(directory, mark, streamed)
    may_be_empty = bool(streamed)
    files = scan(directory, may_be_empty=may_be_empty)
    if consolidate(directory, files):
        files = scan(directory, may_be_empty=may_be_empty)
    for file in files:
        if file.path in streamed:
            raise PublicationError(
                f"{file.path} was both streamed and written into the output directory; do one of the two"
            )
    return Output(Path(directory), tuple(files), find_datasets(files, streamed), tuple(streamed.values()), mark)


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
