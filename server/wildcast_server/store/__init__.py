"""Object stores by URI: the port, and the opener that knows the backends."""

from wildcast_server.store.base import (
    ByteRange,
    ObjectAttributes,
    ObjectInfo,
    ObjectRange,
    ObjectStore,
    ObjectStream,
    OffsetRange,
    SuffixRange,
)
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions

__all__ = [
    "ByteRange",
    "ObjectAttributes",
    "ObjectInfo",
    "ObjectRange",
    "ObjectStore",
    "ObjectStream",
    "OffsetRange",
    "StoreOptions",
    "SuffixRange",
    "open_store",
]
