"""A file of a result, opened for reading."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from wildcast._filesystem import SignedFileSystem

BLOCK = 1 << 20
"""Bytes of one block of an opened file's cache."""


class SignedFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file opened for reading, with its blocks cached; `SignedFileSystem.open` makes it.

    Parameters
    ----------
    fs, path, mode, block_size
        As fsspec has them.
    details
        What fsspec compares files by, with the size in bytes.
    fetch
        Returns the bytes from one position to another, of the version that was opened.
    **options
        fsspec's own: ``cache_type``, ``cache_options``.
    """

    DEFAULT_BLOCK_SIZE = BLOCK

    def __init__(
        self,
        fs: "SignedFileSystem",
        path: str,
        mode: str,
        block_size: int,
        *,
        details: dict[str, Any],
        fetch: Callable[[int, int], bytes],
        **options: Any,
    ) -> None:
        self._details, self._fetch = details, fetch
        super().__init__(fs, path, mode, block_size, size=details["size"], **options)

    def __dask_tokenize__(self) -> tuple[str, str, str, int]:
        return type(self).__name__, self.fs.fsid, self.path, self.size

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._fetch(start, end)
