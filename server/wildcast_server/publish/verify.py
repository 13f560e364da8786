"""Show that a store holds what was sent, before anybody is told so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from wildcast.contract.manifest import Manifest, Verification
from wildcast.contract.naming import MANIFEST_PATH, join_key
from wildcast_server.errors import NotFoundError, PublicationError, RangeNotSatisfiableError, VerificationFailedError
from wildcast_server.publish.claim import CLAIM_PATH, claim_key
from wildcast_server.publish.listing import list_known
from wildcast_server.publish.manifests import manifest_key
from wildcast_server.store.base import ObjectInfo, ObjectStore
from wildcast_server.transfer.budget import Budget, Cost
from wildcast_server.transfer.digest import read_back
from wildcast_server.transfer.files import StoredFile
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE
from wildcast_server.transfer.pool import for_each

_STRENGTH: tuple[Verification, ...] = ("crc64nvme", "md5-etag", "read-back")
"""From strong to weak."""

_NAMED = 5
"""Keys that an error names; it counts the others."""


@dataclass(frozen=True)
class Verified:
    """What a verification found."""

    how: Verification
    extra: tuple[str, ...]
    """Keys under the prefix that were not sent."""


def weakest(proofs: Iterable[Verification]) -> Verification:
    """Return the weakest of some proofs; the strongest there is if there are none."""
    return max(proofs, key=_STRENGTH.index, default=_STRENGTH[0])


def verify(store: ObjectStore, prefix: str, files: Sequence[StoredFile], budget: Budget) -> Verified:
    """Check every object: a listing shows it with its size and the ETag of its write, and its checksum was compared.

    Parameters
    ----------
    store
        Where the files were written.
    prefix
        Of the publication.
    files
        What was written.
    budget
        Bounds the requests in flight.

    Raises
    ------
    VerificationFailedError
        Naming the keys that are missing or differ.
    PublicationError
        If another publication lies below this prefix.
    """
    extra = _compare(store, prefix, files, budget)
    if store.checks_crc64nvme:
        # The store itself refused what differed; but of an object made of parts it checked the parts.
        unproved, proof = [file for file in files if file.is_multipart], _STRENGTH[0]
    else:
        unproved = [file for file in files if file.expected_etag is None or file.expected_etag != file.etag]
        proof = "md5-etag"
    shown = for_each(partial(_checksum, store), unproved, budget, cost=_cost)
    _accuse(store, [file.key for file, how in zip(unproved, shown, strict=True) if how is None])
    proofs = {how for how in shown if how is not None} | ({proof} if len(unproved) < len(files) else set())
    return Verified(weakest(proofs), extra)


def _compare(store: ObjectStore, prefix: str, files: Sequence[StoredFile], budget: Budget) -> tuple[str, ...]:
    """Check that a listing shows every file; return what else it shows."""
    sent = {file.key: file for file in files}
    right: set[str] = set()
    others: set[str] = set()

    def take(info: ObjectInfo) -> None:
        file = sent.get(info.key)
        if file is None:
            others.add(info.key)
        elif is_listed(info, file.size, file.etag):
            right.add(file.key)

    list_known(store, prefix, list(sent), budget, take)
    if len(right) < len(sent):
        _accuse(store, [file.key for file in files if file.key not in right])
    return _extra(prefix, others)


def is_intact(store: ObjectStore, prefix: str, manifest: Manifest) -> bool:
    """Whether a listing shows every object of a committed publication with its size and ETag.

    One whose ETag the manifest does not tell is read back.
    """
    listed = {info.key: info for info in store.list(prefix)}
    keys = [join_key(prefix, row.path) for row in manifest.rows]
    rows = list(zip(keys, manifest.rows, strict=True))
    return all(is_listed(listed.get(key), row.size, row.etag) for key, row in rows) and all(
        row.etag or _reads_as(store, key, row.size, row.crc64nvme) for key, row in rows
    )


def is_listed(info: ObjectInfo | None, size: int, etag: str | None) -> bool:
    """Whether a listing shows an object of that size, and of that ETag as far as both are known."""
    if info is None or info.size != size:
        return False
    if info.etag == etag or not etag or info.etag is None:
        return True
    # Azure's listings leave the quotes away.
    return info.etag.strip('"') == etag.strip('"')


def _checksum(store: ObjectStore, file: StoredFile) -> Verification | None:
    """Return how an object is shown to be right that the write alone did not prove, or None if it is not."""
    kept = store.full_checksum(file.key) if store.checks_crc64nvme else None
    if kept is not None:
        return "crc64nvme" if kept == file.crc64nvme else None
    # Some ETags look like an MD5 and are none (SSE-KMS), so nothing is proved before the bytes were read.
    return "read-back" if _reads_as(store, file.key, file.size, file.crc64nvme) else None


def _reads_as(store: ObjectStore, key: str, size: int, crc64nvme: str) -> bool:
    try:
        return read_back(store, key, size) == crc64nvme
    except (NotFoundError, RangeNotSatisfiableError):
        return False


def _cost(file: StoredFile) -> Cost:
    return Cost(1, min(file.size, DEFAULT_PART_SIZE))


def _extra(prefix: str, others: set[str]) -> tuple[str, ...]:
    extra = tuple(sorted(others - {manifest_key(prefix), claim_key(prefix)}))
    for key in extra:
        if key.endswith((f"/{MANIFEST_PATH}", f"/{CLAIM_PATH}")):
            raise PublicationError(f"there is another publication below {prefix} ({key}); choose another name")
    return extra


def _accuse(store: ObjectStore, keys: Sequence[str]) -> None:
    if not keys:
        return
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    raise VerificationFailedError(
        f"{store.uri} does not hold what was sent as {', '.join(keys[:_NAMED])}{more}; publish again",
        keys,
    )
