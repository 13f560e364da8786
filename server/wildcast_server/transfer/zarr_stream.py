"""A zarr store whose chunks go straight to the object store, and whose metadata stays on the local disk meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from wildcast.contract.naming import is_metadata
from wildcast_server.domain.sink import check_output_name, partial_beside
from wildcast_server.transfer.streamed import Streamed

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class StreamedStore(Store):
    """A store for zarr, formats 2 and 3, that can be read, changed and listed while it is written.

    It knows what there is from what it wrote, so nothing is listed, and an object that the store has lost is an error
    and never a chunk of fill values. Requests run in threads, as many as `Streamed.slots` at a time.

    Parameters
    ----------
    streamed
        Where chunks go.
    path
        Of the store in the publication.
    directory
        Of the store's metadata documents.
    read_only
        Whether writing is refused.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, streamed: Streamed, path: str, directory: Path, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self._streamed = streamed
        self._path = path
        self._documents = _Documents(directory)

    def __eq__(self, value: object) -> bool:
        if not isinstance(value, StreamedStore):
            return NotImplemented
        return self._streamed is value._streamed and self._path == value._path

    def __hash__(self) -> int:
        return hash((id(self._streamed), self._path))

    def __repr__(self) -> str:
        return f"StreamedStore({self._streamed.store.uri!r}, {self._streamed.key(self._path)!r})"

    def __reduce__(self) -> str:
        raise TypeError(
            "a streamed zarr store cannot be sent to another process: write it from the workflow's own process, "
            "in as many threads as you like, or write zarr files below context.output_directory"
        )

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return this store with another right to write."""
        return type(self)(self._streamed, self._path, self._documents.directory, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a value, or a range of it, or None if there is none."""
        data = await self._in_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several values, or ranges of them."""
        return await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))

    async def exists(self, key: str) -> bool:
        """Whether there is a value."""
        return await self._in_thread(self._size, key) is not None

    async def getsize(self, key: str) -> int:
        """Return the size of a value in bytes; `FileNotFoundError` if there is none."""
        size = await self._in_thread(self._size, key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def set(self, key: str, value: Buffer) -> None:
        """Write a value; returns once it is on disk, or the object store has acknowledged it."""
        self._check_writable()
        if not isinstance(value, Buffer):
            raise TypeError(f"the value of {key} must be a zarr Buffer, not a {type(value).__name__}")
        await self._in_thread(self._write, key, value)

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, bytes]]) -> None:
        """Refuse: objects are written whole (zarr before 3.1 wants the method to be there)."""
        raise NotImplementedError

    @property
    def supports_partial_writes(self) -> Any:
        """Whether a part of a value can be written: no."""
        return False

    async def delete(self, key: str) -> None:
        """Remove a value, if there is one."""
        self._check_writable()
        await self._in_thread(self._delete, key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all values below a prefix, several at a time."""
        self._check_writable()
        keys = await self._in_thread(self._keys, _as_directory(prefix))
        await asyncio.gather(*(self.delete(key) for key in keys))

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys that begin with `prefix`."""
        for key in await self._in_thread(self._keys, prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names directly below `prefix`, of values and of what leads to more."""
        inside = _as_directory(prefix)
        keys = await self._in_thread(self._keys, inside)
        for name in sorted({key.removeprefix(inside).partition("/")[0] for key in keys}):
            yield name

    async def _in_thread(
        self, work: Callable[Parameters, Result], *args: Parameters.args, **_kwargs: Parameters.kwargs
    ) -> Result:
        self._is_open = True
        return await asyncio.wrap_future(self._streamed.submit(work, *args))

    def _at(self, key: str) -> str:
        return check_output_name(f"{self._path}/{key}")

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        path = self._at(key)
        if is_metadata(path):
            data = self._documents.read(key)
            return None if data is None else data[slice(*_bounds(byte_range, len(data)))]
        size = self._streamed.size(path)
        return None if size is None else self._streamed.read(path, *_bounds(byte_range, size))

    def _size(self, key: str) -> int | None:
        path = self._at(key)
        return self._documents.size(key) if is_metadata(path) else self._streamed.size(path)

    def _write(self, key: str, value: Buffer) -> None:
        path = self._at(key)
        if is_metadata(path):
            self._documents.write(key, value.to_bytes())
        else:
            self._streamed.put(path, value.to_bytes())

    def _delete(self, key: str) -> None:
        path = self._at(key)
        if is_metadata(path):
            self._documents.delete(key)
        else:
            self._streamed.delete(path)

    def _keys(self, prefix: str) -> Sequence[str]:
        inside = _as_directory(self._path)
        chunks = (path.removeprefix(inside) for path in self._streamed.below(inside + prefix))
        return (*self._documents.keys(prefix), *chunks)


class _Documents:
    """zarr's metadata documents, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, key: str) -> bytes | None:
        try:
            return (self.directory / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        try:
            return (self.directory / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes) -> None:
        target = self.directory / key
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_beside(target)
        try:
            partial.write_bytes(data)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            (self.directory / key).unlink()

    def keys(self, prefix: str) -> list[str]:
        # From the last directory that the prefix names on.
        root = self.directory / prefix.rpartition("/")[0]
        found = (path.relative_to(self.directory).as_posix() for path in root.rglob("*") if is_metadata(path.name))
        return sorted(key for key in found if key.startswith(prefix))


def _as_directory(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return where a range begins, and where it ends (exclusive), within a value of `size` bytes."""
    match byte_range:
        case None:
            return 0, size
        case RangeByteRequest(start, end):
            return min(start, size), min(end, size)
        case OffsetByteRequest(offset):
            return min(offset, size), size
        case SuffixByteRequest(suffix):
            return max(size - suffix, 0), size
    raise ValueError(f"Unexpected byte_range, got {byte_range}.")
