"""The tar format: POSIX ustar headers, and pax headers before them where a name or a size does not fit.

POSIX.1-2017, "pax": ustar Interchange Format, pax Header Block.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from struct import Struct

from wildcast_server.http.archives.base import FILE_MODE, ArchiveFormat, Entry

BLOCK = 512

# name, mode, uid, gid, size, mtime, checksum, type, link, magic, user, group, device's two numbers, prefix
_HEADER = Struct("<100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_CHECKSUM = slice(148, 156)
_NAME_BYTES = 100
_SIZE_LIMIT = 8**11
_FILE, _EXTENDED = b"0", b"x"
_MODE = b"%07o\0" % FILE_MODE
_NOBODY = b"%07o\0" % 0
_END = bytes(2 * BLOCK)


class TarFormat(ArchiveFormat):
    """Writes tar archives; it keeps nothing of the files that it has written."""

    suffix = "tar"
    media_type = "application/x-tar"

    def length(self, entries: Iterable[Entry]) -> int:
        """Return how long the archive will be."""
        files = sum(BLOCK + len(_extension(entry)) + entry.size + _padding(entry.size) for entry in entries)
        return files + len(_END)

    def stream(
        self, entries: Iterable[Entry], bodies: Iterable[Iterable[bytes]], modified: datetime
    ) -> Iterator[bytes]:
        """Yield every file behind its header."""
        time = b"%011o\0" % min(max(int(modified.timestamp()), 0), _SIZE_LIMIT - 1)
        for entry, body in zip(entries, bodies, strict=True):
            yield _headers(entry, time)
            yield from body
            yield bytes(_padding(entry.size))
        yield _END


def _headers(entry: Entry, time: bytes) -> bytes:
    records = _extension_records(entry)
    name = entry.name.encode("ascii", "replace")[:_NAME_BYTES]
    # A size that does not fit is in the extension, and then the one here is not read.
    header = _header(name, entry.size if entry.size < _SIZE_LIMIT else 0, time, _FILE)
    if not records:
        return header
    return _header(b"././@PaxHeader", len(records), time, _EXTENDED) + _padded(records) + header


def _header(name: bytes, size: int, time: bytes, kind: bytes) -> bytes:
    fields = (name, _MODE, _NOBODY, _NOBODY, b"%011o\0" % size, time, b" " * 8, kind)
    block = _HEADER.pack(*fields, b"", b"ustar\00000", b"", b"", b"", b"", b"")
    return b"%b%06o\0 %b" % (block[: _CHECKSUM.start], sum(block), block[_CHECKSUM.stop :])


def _extension(entry: Entry) -> bytes:
    """Return room for what `_headers` puts before the header itself."""
    records = _extension_records(entry)
    return bytes(BLOCK) + _padded(records) if records else b""


def _extension_records(entry: Entry) -> bytes:
    records = b""
    if not entry.name.isascii() or len(entry.name) > _NAME_BYTES:
        records = _record(b"path", entry.name.encode())
    if entry.size >= _SIZE_LIMIT:
        records += _record(b"size", b"%d" % entry.size)
    return records


def _record(keyword: bytes, value: bytes) -> bytes:
    """Return ``<length> <keyword>=<value>`` and a line's end; the length counts its own digits."""
    rest = b" %b=%b\n" % (keyword, value)
    length = len(rest)
    while (total := len(rest) + len(str(length))) != length:
        length = total
    return b"%d%b" % (length, rest)


def _padding(size: int) -> int:
    return -size % BLOCK


def _padded(data: bytes) -> bytes:
    return data + bytes(_padding(len(data)))
