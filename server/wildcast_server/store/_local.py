"""Objects as files: written and listed by obstore, read by code of our own."""

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wildcast_server.errors import InvalidKeyError, StoreError
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._read_ahead import LocalFile, ReadAhead, open_in_thread
from wildcast_server.store._traits import Traits
from wildcast_server.store.base import (
    ByteRange,
    ObjectAttributes,
    ObjectInfo,
    ObjectRange,
    ObjectStream,
    OffsetRange,
    SuffixRange,
    too_short,
)

if TYPE_CHECKING:
    from obstore.store import LocalStore as Driver


class LocalStore(ObstoreStore):
    """Objects as files below a directory; written beside their place and renamed into it.

    The driver takes several times as long to open a small file, and streams in reads of 8 KiB, at a tenth of the speed.
    """

    # The driver's own names for files that are being written.
    _STAGED = re.compile(r"#[0-9]+$")

    def __init__(self, uri: str, driver: "Driver") -> None:
        super().__init__(uri, driver, traits=Traits(keeps_attributes=False))
        self._root = unquote(urlsplit(uri).path)

    @property
    def is_on_disk(self) -> bool:
        return True

    def get(self, key: str, byte_range: ObjectRange | None = None) -> bytes:
        with closing(self._open(key)) as file:
            start, stop = self._bounds(key, byte_range, file.size)
            return file.read(start, stop - start)

    def read_into(self, key: str, buffer: memoryview, start: int = 0) -> str | None:
        stop = start + len(buffer)
        with closing(self._open(key)) as file:
            self._check_range(key, ByteRange(start, stop), file.size)
            if file.size < stop:
                raise too_short(self._uri_of(key), file.size, stop)
            file.read_into(start, buffer)
            return file.info(key).etag

    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        file = await open_in_thread(self._readers, lambda: self._open(key))
        try:
            start, stop = self._bounds(key, byte_range, file.size)
        except StoreError:
            file.close()
            raise
        chunks = ReadAhead(file, start, stop, self._readers)
        return ObjectStream(file.info(key), ObjectAttributes(), start, stop, chunks)

    def head(self, key: str) -> ObjectInfo:
        with closing(self._open(key)) as file:
            return file.info(key)

    def _open(self, key: str) -> LocalFile:
        # A result that is served where it was made may have a file of any name. The path is UTF-8 as the driver has
        # it, whatever Python takes for the file system's encoding.
        path = f"{self._root}/{super()._path(key)}".encode()
        return LocalFile(path, self._uri_of(key))

    def path_of(self, key: str) -> Path:
        """Return the file that an object is, or would be."""
        return Path(self._root, self._path(key))

    def _path(self, key: str) -> str:
        if self._STAGED.search(key):
            raise InvalidKeyError(f"{key!r}: a store of files cannot hold a name that ends in # and digits", self.uri)
        return super()._path(key)

    def _bounds(self, key: str, byte_range: ObjectRange | None, size: int) -> tuple[int, int]:
        """Return where a range begins, and where it ends (exclusive), if any of the object is in it."""
        self._check_range(key, byte_range, size)
        match byte_range:
            case None:
                return 0, size
            case ByteRange(start, stop):
                return start, min(stop, size)
            case OffsetRange(start):
                return start, size
            case SuffixRange(length):
                return max(size - length, 0), size
