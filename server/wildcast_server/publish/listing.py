"""List a prefix of which most keys are known beforehand: in slices, all at the same time."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise

from wildcast_server.store.base import ObjectInfo, ObjectStore
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.pool import for_each

SLICE = 900
"""Known keys in one slice: a page of a listing has 1,000, and the rest is room for keys that are not known."""

_PEEK = 50
"""Objects behind a slice that are looked at, to see whether they are in order; mostly the page has them anyway."""


def list_known(
    store: ObjectStore, prefix: str, keys: Sequence[str], budget: Budget, take: Callable[[ObjectInfo], None]
) -> None:
    """Look at every object below `prefix`.

    Where the store lists in order of the keys, as nearly all do, this takes about one round trip, however many there
    are. Objects whose keys were not known are found as well, since the slices leave no gap between them.

    Parameters
    ----------
    store
        What to list.
    prefix
        Below which.
    keys
        That are probably there, in any order.
    budget
        Bounds the requests in flight.
    take
        Told of each object, by several threads; more than once where the store turns out to list in no order.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    # A directory of this machine is walked in any order, and at once.
    number = 1 if store.is_on_disk else -(-len(keys) // SLICE)
    if number > 1:
        ordered = sorted(keys)
        cuts = [ordered[position * len(ordered) // number - 1] for position in range(1, number)]
        try:
            for_each(lambda ends: _slice(store, prefix, ends, take), [*pairwise([None, *cuts, None])], budget)
        except _UnorderedError:
            pass
        else:
            return
    for info in store.list(prefix):
        take(info)


class _UnorderedError(Exception):
    pass


def _slice(
    store: ObjectStore, prefix: str, ends: tuple[str | None, str | None], take: Callable[[ObjectInfo], None]
) -> None:
    """Look at what lies behind the first of `ends`, up to the second and with it."""
    after, last = ends
    listed = _in_order(store.list(prefix, after=after), after or "")
    for info in listed:
        if last is not None and info.key > last:
            break
        take(info)
        if info.key == last:
            break
    # Were the store to list in no order, what came first might lie behind the slice by chance.
    for _ in islice(listed, _PEEK):
        pass


def _in_order(listed: Iterator[ObjectInfo], before: str) -> Iterator[ObjectInfo]:
    for info in listed:
        if info.key <= before:
            raise _UnorderedError
        before = info.key
        yield info
