"""Object stores by URI: the port, the opener that knows the backends, transfers with a caller's memory, signed URLs."""

from wildcast_server.errors import (
    InvalidUriError,
    MultipartError,
    NetworkError,
    NotFoundError,
    OtherStoreError,
    PresignError,
    StoreError,
    StoreIoError,
    UnsupportedError,
)
from wildcast_server.store._blob_handle import BlobHandle
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
from wildcast_server.store.blobs import Blobs, BlobTransfer
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions
from wildcast_server.store.presign import PresignedUrl, Presigner, open_presigner

__all__ = [
    "BlobHandle",
    "BlobTransfer",
    "Blobs",
    "ByteRange",
    "InvalidUriError",
    "MultipartError",
    "NetworkError",
    "NotFoundError",
    "ObjectAttributes",
    "ObjectInfo",
    "ObjectRange",
    "ObjectStore",
    "ObjectStream",
    "OffsetRange",
    "OtherStoreError",
    "PresignError",
    "PresignedUrl",
    "Presigner",
    "StoreError",
    "StoreIoError",
    "StoreOptions",
    "SuffixRange",
    "UnsupportedError",
    "open_presigner",
    "open_store",
]
