"""Remove what was begun below a prefix and is not to be published there."""

from wildcast.contract.manifest import Manifest
from wildcast_server.publish.claim import claim_key
from wildcast_server.publish.partial import partial_key, write_partial
from wildcast_server.publish.resume import sweep
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.pool import for_each


def clear(store: ObjectStore, prefix: str, budget: Budget, sign: Manifest | None) -> bool:
    """Remove every object and every unfinished upload below `prefix`, but for a claim.

    Parameters
    ----------
    store, prefix
        Where.
    budget
        Bounds the requests in flight.
    sign
        A list of nothing: where readers have looked it stays, so that nobody ever writes there again. None to remove
        that, too.

    Returns
    -------
    Whether the sign stays.
    """
    sweep(store, prefix)
    keys = {info.key for info in store.list(prefix)} - {claim_key(prefix)}
    stays = sign is not None and partial_key(prefix) in keys
    if sign is not None and stays:
        # First: what is about to go is not shown any more.
        write_partial(store, prefix, sign)
        keys.remove(partial_key(prefix))
    for_each(store.delete, sorted(keys), budget)
    return stays
