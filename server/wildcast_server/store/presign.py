"""URLs that let their holder read or write one object, without credentials, for a while.

The stores' own signatures are made here; the signed URLs of a CDN, for whole results, are `wildcast_server.signing`'s.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import ClassVar

from wildcast.contract.naming import InvalidPathError, check_key, join_key
from wildcast_server.errors import InvalidKeyError, InvalidUriError, MultipartError, PresignError, UnsupportedError
from wildcast_server.store.options import StoreOptions

SEVEN_DAYS = timedelta(days=7)

_SIGNING_SCHEMES = ("s3", "gs", "az", "file")


@dataclass(frozen=True)
class PresignedUrl:
    """A URL that whoever holds it may use: a secret, which its `repr` keeps.

    `str` gives the whole URL.
    """

    method: str
    """The HTTP method that it is for."""
    url: str
    expires_at: datetime | None
    """When it ends, in UTC; None means never."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What a request has to send along, unchanged."""

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        until = "never ends" if self.expires_at is None else f"until {self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return f"PresignedUrl({self.method} {self.url.partition('?')[0]}?…, {until})"


class Presigner(ABC):
    """Makes presigned URLs of a store's objects, and multipart uploads whose parts others send.

    It may be used from several threads. Keys are relative to its URI. A lifetime is a `timedelta` or a number of
    seconds, from one second on. It ends with the credentials that sign: where those end sooner, so does the URL, as
    its `expires_at` says.

    Every method raises `InvalidKeyError` for a key that no store can hold; those that sign raise `PresignError` for a
    lifetime that the store does not grant, for want of credentials, or for credentials that have ended. Those that send
    a request raise what a store raises, and `MultipartError` for an upload that does not exist.
    """

    longest: ClassVar[timedelta | None] = SEVEN_DAYS
    most_parts: ClassVar[int] = 10_000

    def __init__(self, uri: str, base: str = "") -> None:
        self.uri = uri
        self._base = base

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    @abstractmethod
    def presign_get(self, key: str, expires_in: timedelta | float) -> PresignedUrl:
        """Make a URL that reads an object, or a range of it; whether there is one is not asked."""

    @abstractmethod
    def presign_put(self, key: str, expires_in: timedelta | float, *, content_type: str | None = None) -> PresignedUrl:
        """Make a URL that writes an object in one request, with the `headers` that come with it."""

    @abstractmethod
    def create_multipart(self, key: str, *, content_type: str | None = None) -> str:
        """Begin a multipart upload; return its id."""

    @abstractmethod
    def presign_part(self, key: str, upload: str, number: int, expires_in: timedelta | float) -> PresignedUrl:
        """Make a URL that sends part `number`, from 1 on, of an upload; its answer's ETag is asked for at the end.

        Raises
        ------
        MultipartError
            If the number is not one that a part can have.
        """

    @abstractmethod
    def complete_multipart(self, key: str, upload: str, parts: Mapping[int, str]) -> str | None:
        """Make the object of its parts; return its ETag.

        Parameters
        ----------
        key, upload
            As they were.
        parts
            The ETag of each part by its number, as the store gave it: in quotes or without, and passed on like that.

        Raises
        ------
        MultipartError
            If there are no parts, or they are not what the store has, or there is no such upload.
        """

    @abstractmethod
    def abort_multipart(self, key: str, upload: str) -> None:
        """Give up an upload, and what its parts occupy; no error if there is none any more."""

    def _path(self, key: str) -> str:
        """Check a key, and return it as the bucket has it."""
        try:
            return check_key(join_key(self._base, check_key(key)))
        except InvalidPathError as error:
            raise InvalidKeyError(f"not a key that {self.uri} can hold: {error}", self.uri) from error

    def _uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _lifetime(
        self,
        key: str,
        expires_in: timedelta | float,
        *,
        credentials_end: datetime | None = None,
    ) -> "Lifetime":
        """Check how long a URL is to live, and cut it off where the credentials end."""
        seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
        if not 1 <= seconds < math.inf:
            raise PresignError(f"a URL of {self._uri_of(key)} must live for a second at least", self._uri_of(key))
        longest = self._longest()
        if longest is not None and seconds > longest.total_seconds():
            raise PresignError(
                f"a URL of {self._uri_of(key)} can live for {longest.days} days at most: ask for less",
                self._uri_of(key),
            )
        now = int(time.time())
        return Lifetime(now, self._until_credentials_end(key, now, int(seconds), credentials_end))

    def _longest(self) -> timedelta | None:
        return self.longest

    def _until_credentials_end(self, key: str, now: int, seconds: int, credentials_end: datetime | None) -> int:
        left = seconds if credentials_end is None else math.floor(credentials_end.timestamp()) - now
        if left < 1:
            why = "the credentials have ended; renew them"
            raise PresignError(f"no URL of {self._uri_of(key)} can be signed: {why}", self._uri_of(key))
        return min(seconds, left)

    def _check_number(self, key: str, number: int) -> None:
        if not 1 <= number <= self.most_parts:
            raise MultipartError(
                f"part {number} of {self._uri_of(key)} cannot be: numbers go from 1 to {self.most_parts:,}",
                self._uri_of(key),
            )

    def _in_order(self, key: str, parts: Mapping[int, str]) -> list[tuple[int, str]]:
        if not parts:
            raise MultipartError(f"{self._uri_of(key)} cannot be made of no parts: abort the upload", self._uri_of(key))
        for number in parts:
            self._check_number(key, number)
        return sorted(parts.items())


@dataclass(frozen=True)
class Lifetime:
    """From when on a URL is valid, and for how long."""

    now: int
    """Unix seconds."""
    seconds: int

    @property
    def begins_at(self) -> datetime:
        """In UTC."""
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def expires_at(self) -> datetime:
        """In UTC."""
        return datetime.fromtimestamp(self.now + self.seconds, UTC)


def open_presigner(uri: str, options: StoreOptions | None = None) -> Presigner:
    """Open what signs URLs of the store at `uri`; nothing is sent yet.

    Parameters
    ----------
    uri
        ``s3://bucket[/base]``, ``gs://bucket[/base]``, ``az://container[/base]`` or ``file:///absolute/path``,
        as `open_store` takes them.
    options
        How to reach it.

    Raises
    ------
    InvalidUriError
        If the URI is of another kind or ill-formed.
    UnsupportedError
        For ``memory://``, whose objects have no URL.
    """
    scheme = uri.partition("://")[0]
    if scheme == "memory":
        raise UnsupportedError("what memory:// holds has no URL: use a store that other processes can reach", uri)
    if scheme not in _SIGNING_SCHEMES or "://" not in uri:
        kinds = ", ".join(f"{name}://" for name in _SIGNING_SCHEMES)
        shown = f"{scheme}://…" if "@" in uri else uri
        raise InvalidUriError(f"URLs are signed of stores whose URI begins with one of {kinds}", shown)
    return _open(scheme, uri, options or StoreOptions())


def _open(scheme: str, uri: str, options: StoreOptions) -> Presigner:
    # Each brings its own libraries.
    match scheme:
        case "s3":
            from wildcast_server.store._presign_s3 import S3Presigner

            return S3Presigner.open(uri, options)
        case "gs":
            from wildcast_server.store._presign_gcs import GcsPresigner

            return GcsPresigner.open(uri, options)
        case "az":
            from wildcast_server.store._presign_azure import AzurePresigner

            return AzurePresigner.open(uri, options)
    from wildcast_server.store._presign_file import FilePresigner

    return FilePresigner.open(uri)
