"""What a request names: one parsed value, for the signature that is checked and for the key that is opened."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from wildcast.contract.naming import InvalidPathError, check_key
from wildcast.contract.policy import MAX_URL_BYTES, has_dot_segments

# RFC 3986's characters of a path, and those that sloppy clients leave as they are. A backslash must be encoded.
_PATH = re.compile(r"/(?:[!-$&-\[\]-~]|%[0-9A-Fa-f]{2})*")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)


class TargetError(ValueError):
    """A request's path or query that cannot be served."""


class MalformedTargetError(TargetError):
    """A path that names no key, or could be read as more than one."""


class TargetTooLongError(TargetError):
    """A path and query that are longer than CloudFront takes."""


@dataclass(frozen=True)
class Target:
    """A request's path and query."""

    path: str
    """As it was sent: begins with a slash, percent-encoded."""
    query: str
    """As it was sent, without its question mark."""
    key: str | None
    """What `path` names, decoded once; None for the root and for a path that ends with a slash."""

    @property
    def suffix(self) -> str:
        """What follows the host in the request's URL."""
        return f"{self.path}?{self.query}" if self.query else self.path


def parse_target(raw_path: bytes, raw_query: bytes) -> Target:
    """Parse a request's path and query, as they were sent.

    A key is decoded once: ``%252e`` names a key with ``%2e`` in it. A backslash, percent-encoded, is an ordinary
    character of a key, as it is in S3, unless a Windows path would find ``.`` or ``..`` between backslashes.

    Raises
    ------
    MalformedTargetError
        For a bad percent-encoding, an encoded slash, a control character, text that is not UTF-8, an empty, ``.`` or
        ``..`` segment however it is encoded, or a key over 1,024 bytes.
    TargetTooLongError
        For more than 8,192 bytes.
    """
    if len(raw_path) + len(raw_query) > MAX_URL_BYTES:
        raise TargetTooLongError(f"the URL has more than {MAX_URL_BYTES} bytes")
    try:
        path, query = raw_path.decode("ascii"), raw_query.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedTargetError("the URL is not ASCII") from None
    if not _PATH.fullmatch(path) or _ENCODED_SLASH.search(path) or has_dot_segments(path):
        raise MalformedTargetError("the path is ambiguous")
    return Target(path, query, _key(path))


def _key(path: str) -> str | None:
    directory = path.endswith("/")
    encoded = path[1:-1] if directory else path[1:]
    if not encoded and path == "/":
        return None
    try:
        key = check_key(unquote_to_bytes(encoded).decode("utf-8"))
    except (UnicodeDecodeError, InvalidPathError):
        raise MalformedTargetError("the path is not that of a key") from None
    return None if directory else key
