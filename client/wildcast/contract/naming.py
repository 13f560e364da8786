"""Names that client and server share: execution ids, object keys, the parts of a publication."""

import re
import secrets
import time
from collections.abc import Collection
from urllib.parse import quote

RESERVED = ".wildcast"
"""The directory of a publication that belongs to wildcast itself."""

MANIFEST_PATH = f"{RESERVED}/manifest.json.gz"
"""Where the manifest lies, relative to the publication's prefix."""

PARTIAL_PATH = f"{RESERVED}/partial.json.gz"
"""Where the list of what is there so far lies while an execution runs, relative to the publication's prefix."""

ZARR_METADATA = frozenset({"zarr.json", ".zmetadata", ".zarray", ".zgroup", ".zattrs"})
"""Names of the objects that describe a zarr store; its readers fetch them first."""

MAX_KEY_BYTES = 1024
"""The longest object key (Amazon S3 User Guide, "Naming Amazon S3 objects"), in bytes of UTF-8."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_NAME = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")

_EXECUTION_ID = re.compile(r"exec_[0-9]{1,12}_[0-9a-f]{8}")


class InvalidPathError(ValueError):
    """A path or key that names nothing inside a publication."""


def new_execution_id(now: float | None = None) -> str:
    """Make an id ``exec_<unix seconds>_<8 hex>``; `now` is in seconds since the epoch."""
    return f"exec_{int(time.time() if now is None else now)}_{secrets.token_hex(4)}"


def is_execution_id(text: str) -> bool:
    """Whether `text` has the form of an execution id."""
    return _EXECUTION_ID.fullmatch(text) is not None


def is_publication(text: str) -> bool:
    """Whether `text` has the form of a publication's directory: an execution id, and a number if not its first place.

    No two executions have the same one, whoever's they are.
    """
    execution_id, dash, place = text.partition("-")
    return is_execution_id(execution_id) and (not dash or (place.isascii() and place.isdecimal()))


def is_metadata(path: str) -> bool:
    """Whether `path`, with or without its publication's prefix, describes other objects.

    Such an object is uploaded after those, and never cached.
    """
    *directories, name = path.split("/")
    return name in ZARR_METADATA or RESERVED in directories


def check_key(key: str) -> str:
    """Return `key` if it is a relative path that every store and every URL can carry.

    Raises
    ------
    InvalidPathError
        For an empty or absolute path, an empty, ``.`` or ``..`` segment, a control character,
        a text that is not Unicode, or more than 1,024 bytes.
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidPathError(f"{key!r} is not valid Unicode") from None
    if length > MAX_KEY_BYTES:
        raise InvalidPathError(f"{key[:40]!r}… has {length} bytes, more than the {MAX_KEY_BYTES} that a key may have")
    if _CONTROL.search(key):
        raise InvalidPathError(f"{key!r} has a control character in it")
    if _NO_NAME.search(key):
        raise InvalidPathError(f"{key!r} is not a relative path of plain segments")
    return key


def check_keys(keys: Collection[str]) -> None:
    """Check many keys as `check_key` does, nearly for nothing where they are plain ASCII, as most are."""
    together = f"/{'/'.join(keys)}/"
    plain = together.isascii() and together.isprintable() and max(map(len, keys), default=0) <= MAX_KEY_BYTES
    if not plain or any(no_name in together for no_name in ("//", "/./", "/../")):
        for key in keys:
            check_key(key)


def join_key(*parts: str) -> str:
    """Join the parts that are not empty by one slash each."""
    return "/".join(stripped for part in parts if (stripped := part.strip("/")))


def quote_key(key: str) -> str:
    """Percent-encode a key for a URL's path; slashes stay."""
    return quote(key, safe="/")
