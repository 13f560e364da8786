"""Tell what below a prefix is a publication's own, where others may have chosen the same name."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from pathlib import Path

from wildcast.contract.naming import PARTIAL_PATH
from wildcast_server.publish.claim import claim_key, holder
from wildcast_server.store.base import ObjectInfo, ObjectStore, UnfinishedUpload


class Below(Enum):
    """Whose objects lie below a prefix at which nothing is published."""

    NOTHING = auto()
    OWN = auto()
    """Of this owner, who has claimed the prefix; or of an execution, whose id nobody else has."""
    CLAIMED = auto()
    """Of another owner."""
    FOREIGN = auto()
    """Of nobody who publishes, or of a publisher whose claim is gone."""


def look_below(store: ObjectStore, prefix: str, owner: str | None) -> Below:
    """Find out whose objects lie below `prefix`; one request where there are none."""
    found = [info.key for info in islice(store.list(prefix), 2)]
    others = [key for key in found if key != claim_key(prefix)]
    if owner is None:
        return Below.OWN if others else Below.NOTHING
    claimed_by = holder(store, prefix) if found else None
    if claimed_by is None:
        return Below.FOREIGN if others else Below.NOTHING
    return Below.OWN if claimed_by == owner.encode() else Below.CLAIMED


@dataclass(frozen=True)
class Own:
    """What below a prefix a publication may replace, remove and abort.

    Parameters
    ----------
    prefix
        Where.
    everything
        Whether nobody else writes there.
    rows
        The paths that ledgers know.
    directory
        What was begun to be published there; None if nothing was. Of its files some may be stored of which the ledger
        does not tell, because their answers were lost.
    """

    prefix: str
    everything: bool
    rows: Sequence[Container[str]]
    directory: Path | None

    def has(self, key: str, size: int | None = None) -> bool:
        """Whether an object was written by this publication; that of a lost answer is known by its size."""
        path = self._path(key)
        is_known = self.everything or path == PARTIAL_PATH or any(path in rows for rows in self.rows)
        return is_known or (size is not None and self._size_on_disk(path) == size)

    def has_begun(self, upload: UnfinishedUpload) -> bool:
        """Whether an unfinished upload was begun by this publication."""
        return self.has(upload.key) or self._size_on_disk(self._path(upload.key)) is not None

    def foreign(self, listed: Iterable[ObjectInfo]) -> list[str]:
        """Return the keys of what others have written, but for a claim."""
        claim = claim_key(self.prefix)
        return [info.key for info in listed if info.key != claim and not self.has(info.key, info.size)]

    def _path(self, key: str) -> str:
        return key.removeprefix(f"{self.prefix}/")

    def _size_on_disk(self, path: str) -> int | None:
        if self.directory is None:
            return None
        try:
            return (self.directory / path).stat().st_size
        except (OSError, ValueError):
            return None
