"""Remove what was begun below a prefix and is not to be published there."""

import logging
from collections.abc import Sequence

from wildcast.contract.manifest import Manifest
from wildcast.contract.naming import PARTIAL_PATH, join_key
from wildcast_server.errors import NotFoundError
from wildcast_server.publish.claim import claim_key
from wildcast_server.publish.manifests import manifest_key, read_manifest
from wildcast_server.publish.own import Own
from wildcast_server.publish.partial import partial_key, write_partial
from wildcast_server.publish.resume import sweep
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.pool import for_each

_log = logging.getLogger(__name__)

REQUESTS = 16
"""Deletions at a time of what was published: publishing needs the store more than this does."""

_NAMED = 3
"""Keys that a line of the log names; it counts the others."""


def clear(store: ObjectStore, own: Own, budget: Budget, sign: Manifest | None) -> bool:
    """Remove every object and every unfinished upload of a publication, but for a claim.

    Parameters
    ----------
    store
        Where.
    own
        What is the publication's.
    budget
        Bounds the requests in flight.
    sign
        A list of nothing: where readers have looked it stays, so that nobody ever writes there again. None to remove
        that, too.

    Returns
    -------
    Whether the sign stays.
    """
    prefix = own.prefix
    sweep(store, prefix, own.has_begun)
    keys = {info.key for info in store.list(prefix) if own.has(info.key, info.size)} - {claim_key(prefix)}
    stays = sign is not None and partial_key(prefix) in keys
    if sign is not None and stays:
        # First: what is about to go is not shown any more.
        write_partial(store, prefix, sign)
        keys.remove(partial_key(prefix))
    delete(store, prefix, sorted(keys), budget)
    return stays


def delete(store: ObjectStore, prefix: str, keys: Sequence[str], budget: Budget) -> None:
    """Delete what was begun below `prefix` and is no part of a publication; the log says what."""
    for_each(store.delete, keys, budget)
    if keys:
        _log.info("%s: deleted what was begun there and is not published: %s", prefix, some_of(keys))


def some_of(keys: Sequence[str]) -> str:
    """Return the first few keys, and how many more there are."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{', '.join(keys[:_NAMED])}{more}"


def remove_publication(store: ObjectStore, prefix: str, budget: Budget, *, committed: bool) -> bool:
    """Remove the publication at `prefix`; return whether there was anything to remove.

    What its manifest lists is deleted, and the manifest last: who is killed in between leaves it for the next to go on.

    Parameters
    ----------
    budget
        Bounds the requests in flight.
    committed
        Whether there was a manifest. Without one now, all that it listed has gone already, and what else there is
        belongs to others. If there never was one, everything is what the execution had begun to store.

    Raises
    ------
    StoreError
        If the store does not do it.
    ManifestError
        If the manifest cannot be read; then nothing is removed.
    """
    try:
        manifest = read_manifest(store, prefix)
    except NotFoundError:
        if committed:
            return False
        sweep(store, prefix)
        keys = [info.key for info in store.list(prefix)]
        for_each(store.delete, keys, budget, most=REQUESTS)
        return bool(keys)
    for_each(store.delete, [join_key(prefix, row.path) for row in manifest.rows], budget, most=REQUESTS)
    for key in (claim_key(prefix), join_key(prefix, PARTIAL_PATH), manifest_key(prefix)):
        store.delete(key)
    return True
