"""Find out what the store holds of a publication that was begun before, so that it is not sent again."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from wildcast.contract.naming import join_key
from wildcast_server.errors import AccessDeniedError, FileChangedError, NotFoundError, StoreError, UnsupportedError
from wildcast_server.http.media_types import content_type
from wildcast_server.publish.verify import is_listed
from wildcast_server.store.base import ObjectInfo, ObjectStore, UnfinishedUpload
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.digest import digest_files
from wildcast_server.transfer.files import LocalFile, StoredFile
from wildcast_server.transfer.ledger import LedgerRow
from wildcast_server.transfer.parts import MIB
from wildcast_server.transfer.pool import for_each

_log = logging.getLogger(__name__)

COMPARED_FROM = MIB
"""Size in bytes from which reading a file and one request for a checksum cost less than sending it."""


@dataclass(frozen=True)
class Begun:
    """What was there when this publication was taken up."""

    rows: Mapping[str, LedgerRow] = field(default_factory=dict)
    """Of the ledger, by path."""
    streamed: Mapping[str, LedgerRow] = field(default_factory=dict)
    """Of the ledger of what a workflow streamed, by path; read only where there is an owner."""
    listed: dict[str, ObjectInfo] = field(default_factory=dict)
    """By key."""

    def take(self, info: ObjectInfo) -> None:
        """Note an object that is listed; threads may call it."""
        self.listed[info.key] = info


def sweep(store: ObjectStore, prefix: str, is_ours: Callable[[UnfinishedUpload], bool] = lambda _upload: True) -> None:
    """Abort the multipart uploads below `prefix` that are ours and that nobody ended."""
    try:
        uploads = [upload for upload in store.unfinished_uploads(prefix) if is_ours(upload)]
        for upload in uploads:
            store.abort_upload(upload)
    except (AccessDeniedError, UnsupportedError) as error:
        # Rights of their own, which whoever may write objects need not have.
        _log.warning("multipart uploads below %s that were never ended stay there: %s", prefix, error)
        return
    if uploads:
        _log.info("%s: gave up %d multipart uploads that were never ended", prefix, len(uploads))


def find_held(
    store: ObjectStore,
    prefix: str,
    files: Iterable[LocalFile],
    begun: Begun,
    budget: Budget,
) -> dict[str, StoredFile]:
    """Return those of `files` that the store holds, by path.

    A file that the ledger knows is held if it is unchanged since and the listing shows it with the size and ETag of
    its write. One that it does not know, of at least 1 MiB, is held if the store's own checksum of the object is its.
    """
    held: dict[str, StoredFile] = {}
    unknown: list[LocalFile] = []
    for file in files:
        key = join_key(prefix, file.path)
        info, row = begun.listed.get(key), begun.rows.get(file.path)
        if row is not None and row.is_of(file) and is_listed(info, row.size, row.etag):
            held[file.path] = row.stored(key)
        elif info is not None and info.size == file.size >= COMPARED_FROM:
            unknown.append(file)
    if unknown:
        compare = partial(_compared, store, prefix, begun.listed)
        found = for_each(compare, unknown, budget)
        held |= {file.path: file for file in found if file is not None}
    return held


def _compared(store: ObjectStore, prefix: str, listed: Mapping[str, ObjectInfo], file: LocalFile) -> StoredFile | None:
    """Return the object of a file's name, if the store's own checksum says that it is this file."""
    key = join_key(prefix, file.path)
    try:
        kept = store.full_checksum(key)
        if kept is None or digest_files([file])[0].crc64nvme != kept:
            return None
    except (NotFoundError, FileChangedError):
        return None
    except StoreError as error:
        _log.debug("%s is sent again: %s", key, error)
        return None
    etag = listed[key].etag
    return StoredFile(
        path=file.path,
        key=key,
        size=file.size,
        crc64nvme=kept,
        etag=etag,
        expected_etag=None,
        is_multipart=True,  # at worst one look too many when it is verified
        content_type=content_type(file.path),
    )
