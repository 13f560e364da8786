"""Partial results: what readers are shown of a publication while it is made.

From the first list on, whatever is below the prefix may have been read, and a CDN keeps it: so no data file that was
sent is ever sent there again with other bytes. One that changed all the same makes the publication go to the next
place. Metadata, which no cache keeps, may be written again and again.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wildcast.contract.manifest import (
    Dataset,
    Manifest,
    ManifestError,
    Verification,
    decode_manifest,
    encode_manifest,
)
from wildcast.contract.naming import PARTIAL_PATH, RESERVED, ZARR_METADATA, InvalidPathError, check_key, join_key
from wildcast_server.errors import NotFoundError, UnpublishableFileError, VerificationFailedError
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.publish.datasets import find_datasets
from wildcast_server.publish.ledgers import Acknowledged
from wildcast_server.publish.manifests import rows_of
from wildcast_server.publish.published import Clock
from wildcast_server.publish.verify import verify, weakest
from wildcast_server.store.base import ObjectAttributes, ObjectStore
from wildcast_server.transfer.engine import Transfer
from wildcast_server.transfer.files import LocalFile, StoredFile

_log = logging.getLogger(__name__)

SHOW_SECONDS = 1.0
"""Between two lists, at least."""

_SHOW_SHARE = 5
"""Listing takes at most about one in so many seconds, however many files there are."""

_METADATA_SECONDS = 0.4
"""How long a metadata file must have stayed as it is, at least."""

Where = Callable[[], tuple[str, Acknowledged]]
"""Returns the prefix, and what the store has acknowledged below it."""


def partial_key(prefix: str) -> str:
    """Return the key of the list of what is there so far of the publication at `prefix`."""
    return join_key(prefix, PARTIAL_PATH)


def read_partial(store: ObjectStore, prefix: str) -> Manifest | None:
    """Read the list of what is there so far; None if nobody was ever shown anything at `prefix`.

    One without rows was shown once, and is not any more.

    Raises
    ------
    ManifestError
        If it is damaged or of a newer version.
    """
    key = partial_key(prefix)
    try:
        return decode_manifest(store.get(key))
    except NotFoundError:
        return None
    except ManifestError as error:
        raise ManifestError(f"{store.uri}/{key}: {error}") from error


def was_shown(store: ObjectStore, prefix: str) -> bool:
    """Whether readers could have seen what is, or was, below `prefix`."""
    try:
        store.head(partial_key(prefix))
    except NotFoundError:
        return False
    return True


def was_shown_before(store: ObjectStore, prefix: str, attempt: int) -> bool:
    """Whether readers could have seen there what was not of this attempt, or is not shown any more."""
    try:
        shown = read_partial(store, prefix)
    except ManifestError as error:
        _log.warning("another prefix is used: %s", error)
        return True
    return shown is not None and (not shown.rows or shown.attempt != attempt)


def write_partial(store: ObjectStore, prefix: str, manifest: Manifest) -> None:
    """Write, or replace, the list of what is there so far."""
    attributes = ObjectAttributes(content_type(PARTIAL_PATH), cache_control(PARTIAL_PATH))
    store.put(partial_key(prefix), encode_manifest(manifest), attributes)


@dataclass(frozen=True, kw_only=True)
class About:
    """Of what a list is."""

    store: ObjectStore
    execution: str
    attempt: int
    clock: Clock

    def list(
        self,
        files: Iterable[StoredFile] = (),
        *,
        verified: Verification = "crc64nvme",
        datasets: tuple[Dataset, ...] = (),
    ) -> Manifest:
        """Make the list of these files."""
        return Manifest.of(
            rows_of(files, self.store),
            execution=self.execution,
            attempt=self.attempt,
            created_at=self.clock(),
            verified=verified,
            datasets=datasets,
        )


@dataclass
class _Listed:
    """What the latest list has."""

    data: dict[str, StoredFile] = field(default_factory=dict)
    metadata: dict[str, tuple[LocalFile, StoredFile]] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    proofs: set[Verification] = field(default_factory=set)


class Partial:
    """Lists what is stored, from when somebody has asked for it; until then it does nothing.

    All but `ask` is called by one thread, which sends the data as well.

    Parameters
    ----------
    store, transfer
        Where to, and what sends metadata.
    directory
        What is being written.
    about
        Of what the list is.
    where
        Called whenever the store is needed.
    """

    def __init__(self, store: ObjectStore, transfer: Transfer, directory: Path, about: About, where: Where) -> None:
        self._store = store
        self._transfer = transfer
        self._directory = directory
        self._about = about
        self._where = where
        self._asked = threading.Event()
        self._sent: dict[str, tuple[object, ...]] | None = None
        self._listed = _Listed()
        self._looked: dict[str, LocalFile] = {}
        self._next = 0.0

    def ask(self) -> None:
        """Begin to list; any thread may call it, and more than once."""
        self._asked.set()

    @property
    def has_shown(self) -> bool:
        """Whether anything was listed, or might have been."""
        return self._sent is not None

    def may_send(self, file: LocalFile) -> bool:
        """Whether a file may be sent: not if readers may have seen another one of its name."""
        if self._sent is None:
            return True
        return self._sent.setdefault(file.path, _version(file)) == _version(file)

    def show(self, seen: Mapping[str, LocalFile]) -> None:
        """List what is stored of the files that were `seen`, unless that was done a moment ago.

        Raises
        ------
        PublicationError, StoreError
            If the store does not hold what was sent, or cannot be reached.
        """
        if not self._asked.is_set() or time.monotonic() < self._next:
            return
        began = time.monotonic()
        before, self._looked = self._looked, {file.path: file for file in _metadata(self._directory)}
        rested = [file for file in self._looked.values() if before.get(file.path) == file and _is_whole(file)]
        self._show(seen, rested)
        took = time.monotonic() - began
        # Two looks tell what is being written, and the first list need not wait longer for them than it must.
        pause = SHOW_SECONDS if self._listed.data or before else _METADATA_SECONDS
        self._next = time.monotonic() + max(pause, _SHOW_SHARE * took)

    def _show(self, seen: Mapping[str, LocalFile], metadata: Sequence[LocalFile]) -> None:
        prefix, acknowledged = self._where()
        rows = dict(acknowledged.rows)
        if self._sent is None:
            self._sent = {path: (row.size, row.source) for path, row in rows.items()}
        listed = self._listed
        data = {path: row.stored(join_key(prefix, path)) for path, row in rows.items() if path in seen}
        old = listed.metadata
        to_send = [file for file in metadata if file.path not in old or old[file.path][0] != file]
        gone = listed.data.keys() - data.keys() or old.keys() - self._looked.keys()
        fresh = [file for path, file in data.items() if listed.data.get(path) != file]
        if not (fresh or to_send or gone):
            return
        # After the data: whoever reads it finds what it describes.
        described = self._transfer.upload(to_send, prefix) if to_send else []
        new = [*fresh, *described]
        if new:
            listed.proofs.add(self._verified(prefix, new, acknowledged))
        listed.data = data
        kept = {path: both for path, both in old.items() if path in self._looked}
        listed.metadata = kept | {file.path: (file, stored) for file, stored in zip(to_send, described, strict=True)}
        self._write(prefix)

    def _verified(self, prefix: str, files: Sequence[StoredFile], acknowledged: Acknowledged) -> Verification:
        try:
            return verify(self._store, prefix, files, self._transfer.budget).how
        except VerificationFailedError as error:
            # Then the very same bytes are sent again.
            acknowledged.forget(key.removeprefix(f"{prefix}/") for key in error.keys)
            raise

    def _write(self, prefix: str) -> None:
        listed = self._listed
        with suppress(UnpublishableFileError):
            # What is being rewritten was understood a moment ago, and will be again.
            listed.datasets = find_datasets([file for file, _ in listed.metadata.values()], listed.data)
        files = [*listed.data.values(), *(stored for _, stored in listed.metadata.values())]
        manifest = self._about.list(files, verified=weakest(listed.proofs), datasets=listed.datasets)
        write_partial(self._store, prefix, manifest)


def _version(file: LocalFile) -> tuple[object, ...]:
    return file.size, file.identity


def _metadata(directory: Path) -> Iterator[LocalFile]:
    """Find the files that describe zarr stores; what disappears meanwhile is passed over."""
    root = directory.resolve()
    for found, directories, names in os.walk(root):
        inside = Path(found).relative_to(root)
        if not inside.parts:
            directories[:] = [name for name in directories if name != RESERVED]
        for name in ZARR_METADATA.intersection(names):
            location = Path(found, name)
            with suppress(OSError, InvalidPathError):
                path = check_key((inside / name).as_posix())
                if not location.is_symlink():
                    about = location.stat()
                    yield LocalFile(
                        path,
                        str(location),
                        about.st_size,
                        about.st_mtime_ns,
                        about.st_dev,
                        about.st_ino,
                        about.st_ctime_ns,
                    )


def _is_whole(file: LocalFile) -> bool:
    """Whether it is JSON: one that is being written is so at its end only."""
    try:
        json.loads(file.source.read_bytes())
    except (OSError, ValueError):
        return False
    return True
