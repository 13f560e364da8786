"""What a publisher learns from its first look at the store."""

import time
from collections.abc import Callable
from pathlib import Path

from wildcast_server.publish import Publisher
from wildcast_server.store import ObjectStore, open_store
from wildcast_server.store.base import ObjectInfo
from wildcast_server.transfer import Transfer

LATENCY = 0.05


def test_a_store_far_away_gets_many_requests_from_the_beginning(
    faulty: type[ObjectStore], directory: Callable[..., Path]
):
    """The look at the manifest tells the round trip, so the upload need not find out."""

    class FarAway(faulty):  # type: ignore[misc,valid-type]
        def head(self, key: str) -> ObjectInfo:
            time.sleep(LATENCY)
            return super().head(key)

    store = FarAway(open_store("memory://"))
    transfer = Transfer(store)
    Publisher(store, transfer, prefix="outputs").publish(directory({"a": b"1"}), "run")
    assert transfer.budget.limit == 256
