"""Listing in slices: nothing is missed, and nothing asked for twice."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from wildcast_server.publish.listing import SLICE, list_known
from wildcast_server.store import ObjectInfo, open_store
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.transfer.budget import Budget


class CountingStore(ObstoreStore):
    """A memory store that counts its listings and what they yield, and may list in no order."""

    def __init__(self) -> None:
        memory: Any = open_store("memory://")
        super().__init__(memory.uri, memory._driver)
        self.shuffled = False
        self.listings = self.yielded = 0

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        self.listings += 1
        found = list(super().list(prefix, after=after))
        if self.shuffled:
            random.Random(1).shuffle(found)
        for info in found:
            self.yielded += 1
            yield info


def _names(count: int) -> list[str]:
    return [f"p/{number:05}" for number in range(count)]


def _fill(keys: list[str]) -> CountingStore:
    store = CountingStore()
    for key in keys:
        store.put(key, b"")
    return store


def _listed(store: CountingStore, known: list[str]) -> list[str]:
    seen: list[str] = []
    list_known(store, "p", known, Budget(8, 1), lambda info: seen.append(info.key))
    return seen


def test_slices_cover_everything_once():
    """Every object is seen once, and each slice ends where the next one begins."""
    keys = _names(2 * SLICE + 7)
    store = _fill(keys)
    assert sorted(_listed(store, keys)) == keys
    assert store.listings == 3
    assert store.yielded <= len(keys) + 3 * 51


@pytest.mark.parametrize("extra", ["p/!first", "p/00000x", f"p/{SLICE:05}x", "p/zlast", "p/00500/below"])
def test_what_is_not_known_is_found(extra: str):
    """An object that nobody expected is seen, wherever it lies."""
    keys = _names(2 * SLICE + 7)
    store = _fill([*keys, extra])
    assert sorted(_listed(store, keys)) == sorted([*keys, extra])


def test_what_is_missing_is_not_seen():
    """Known keys that are not there, at the ends of slices too, hide nothing else."""
    keys = _names(3 * SLICE)
    present = keys[: SLICE - 1] + keys[SLICE + 1 : 2 * SLICE - 3]
    assert sorted(_listed(_fill(present), keys)) == present


def test_a_store_without_order_is_listed_as_a_whole():
    """Where keys come in no order all of them are seen nevertheless."""
    keys = _names(2 * SLICE)
    store = _fill([*keys, "p/extra"])
    store.shuffled = True
    assert set(_listed(store, keys)) == {*keys, "p/extra"}


def test_few_keys_are_one_listing():
    """Up to a page, one request does."""
    store = _fill(_names(5))
    assert _listed(store, _names(5)) == _names(5)
    assert store.listings == 1
