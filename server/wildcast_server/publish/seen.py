"""Find out whether a reader could have seen other bytes of a file than those that are to be published."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from wildcast.contract.naming import is_metadata, join_key
from wildcast_server.errors import NotFoundError
from wildcast_server.publish.verify import is_listed
from wildcast_server.store.base import ObjectInfo, ObjectStore
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.digest import digest_files, read_back
from wildcast_server.transfer.files import LocalFile
from wildcast_server.transfer.ledger import LedgerRow
from wildcast_server.transfer.pool import for_each


class _Suspect(NamedTuple):
    file: LocalFile
    info: ObjectInfo
    crc64nvme: str | None
    """Of the object, if the ledger tells."""


def changed_since_seen(
    store: ObjectStore,
    prefix: str,
    files: Iterable[LocalFile],
    rows: Mapping[str, LedgerRow],
    budget: Budget,
) -> str | None:
    """Return the path of a data file whose object has other bytes, or None if there is none such.

    Parameters
    ----------
    store, prefix
        Where readers have looked.
    files
        What is to be published.
    rows
        What the ledger tells of the objects, by path.
    budget
        Bounds the requests in flight.
    """
    listed = {info.key: info for info in store.list(prefix)}
    suspects: list[_Suspect] = []
    for file in files:
        info, row = listed.get(join_key(prefix, file.path)), rows.get(file.path)
        if info is None or is_metadata(file.path):
            continue
        if info.size != file.size:
            return file.path
        is_known = row is not None and is_listed(info, row.size, row.etag)
        if row is None or not is_known or not row.is_of(file):
            suspects.append(_Suspect(file, info, row.crc64nvme if row is not None and is_known else None))
    return _first_that_differs(store, suspects, budget)


def _first_that_differs(store: ObjectStore, suspects: Sequence[_Suspect], budget: Budget) -> str | None:
    held = for_each(partial(_checksum, store), suspects, budget)
    wanted = digest_files([suspect.file for suspect in suspects])
    both = zip(wanted, held, strict=True)
    return next((file.path for file, crc64nvme in both if crc64nvme not in (None, file.crc64nvme)), None)


def _checksum(store: ObjectStore, suspect: _Suspect) -> str | None:
    """Return the object's checksum; None if it is gone, so that nobody sees it."""
    if suspect.crc64nvme is not None:
        return suspect.crc64nvme
    key, size = suspect.info.key, suspect.info.size
    try:
        return store.full_checksum(key) or read_back(store, key, size)
    except NotFoundError:
        return None
