"""Archive formats that are written while their files are read: zip and tar, stored and of a length known beforehand.

Why not the standard library's: ``zipfile`` writes to a stream that cannot seek, but keeps some 400 bytes an entry,
sets no checksum before a file's bytes, and does not say how long its output will be; ``tarfile`` needs 23 to 53 µs for
a header, which for 100,000 files would be seconds before the first byte, only to announce the length. Both are what
the tests read these archives with.
"""

from collections.abc import Mapping

from wildcast_server.http.archives.base import WHOLE_BYTES, ArchiveFormat, Entry
from wildcast_server.http.archives.tar_format import TarFormat
from wildcast_server.http.archives.zip_format import ZipFormat

FORMATS: Mapping[str, ArchiveFormat] = {form.suffix: form for form in (ZipFormat(), TarFormat())}
"""By the name that a client asks with; the first is the usual one."""

__all__ = ["FORMATS", "WHOLE_BYTES", "ArchiveFormat", "Entry"]
