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

__all__ = [
    "ByteRange",
    "ObjectAttributes",
    "ObjectInfo",
    "ObjectRange",
    "ObjectStore",
    "ObjectStream",
    "OffsetRange",
    "SuffixRange",
]
