"""One request for three: zarr 2 asks for ``.zgroup``, ``.zattrs`` and ``.zmetadata``, and the last holds all."""

import asyncio
import json
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from wildcast._checksum import crc64nvme
from wildcast._listing import Expected

CONSOLIDATED = ".zmetadata"
_HELD = frozenset({".zgroup", ".zattrs"})
_KEPT = 8
"""Stores whose consolidated metadata are kept in memory."""

_LARGEST = 16 << 20
"""Bytes of consolidated metadata that are kept; larger ones are read again."""

Read = Callable[[str], Awaitable[bytes]]


class Consolidated:
    """Answers for a zarr 2 group's own metadata from its consolidated metadata.

    An object is rebuilt as zarr writes it, and given out only if it has the manifest's checksum: so it is the object,
    byte by byte.

    Parameters
    ----------
    read
        Reads an object of the store.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def body(self, key: str) -> bytes:
        """Return consolidated metadata, read once."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            found = self._bodies.get(key)
            if found is None:
                found = await self._read(key)
                if len(found) <= _LARGEST:
                    self._bodies[key] = found
                if len(self._bodies) > _KEPT:
                    self._bodies.popitem(last=False)
            return found

    async def rebuilt(self, key: str, expected: Expected) -> bytes | None:
        """Return the object at `key`, whose consolidated metadata are known to exist; None if it must be read."""
        directory, _, name = key.rpartition("/")
        if name not in _HELD or expected.crc is None:
            return None
        try:
            document = json.loads(await self.body(f"{directory}/{CONSOLIDATED}".lstrip("/")))["metadata"][name]
        except (ValueError, KeyError, TypeError):
            return None
        return next((body for body in _as_written(document) if crc64nvme(body) == expected.crc), None)


def consolidated_of(key: str) -> str | None:
    """Return where the consolidated metadata lie that may hold the object at `key`; None for any other object."""
    directory, _, name = key.rpartition("/")
    return f"{directory}/{CONSOLIDATED}".lstrip("/") if name in _HELD else None


def _as_written(document: object) -> list[bytes]:
    """Return the texts that zarr 3 (two blanks), zarr 2 (four, sorted) and others (none) write for a document."""
    return [
        json.dumps(document, indent=2).encode(),
        json.dumps(document, indent=4, sort_keys=True, separators=(",", ": ")).encode(),
        json.dumps(document).encode(),
    ]
