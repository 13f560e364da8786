"""The port of signers: what the rest of wildcast needs of a CDN that signs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

from wildcast.contract.naming import InvalidPathError, check_key
from wildcast.contract.policy import shorten_signature
from wildcast_server.errors import SigningError


@dataclass(frozen=True, repr=False)
class SignedLink:
    """A signed URL and when it ends. Its `repr` shows no signature."""

    url: str
    expires_at: datetime
    """In UTC."""

    def __repr__(self) -> str:
        """Show the URL without what is secret in it."""
        return f"SignedLink(url={shorten_signature(self.url)!r}, expires_at={self.expires_at})"


@dataclass(frozen=True, repr=False)
class SignedCookies:
    """Cookies that open a prefix, where they are valid, and when they end. Its `repr` shows no signature."""

    cookies: dict[str, str]
    domain: str
    """The host name alone."""
    path: str
    """Begins and ends with a slash, percent-encoded."""
    expires_at: datetime
    """In UTC."""

    def __repr__(self) -> str:
        """Show the cookies' names only."""
        names = ", ".join(self.cookies)
        return f"SignedCookies({names}; domain={self.domain}, path={self.path}, expires_at={self.expires_at})"


class Signer(ABC):
    """Signs URLs and cookies for what lies below one CDN domain.

    Parameters of every method: `expires_in` in seconds, the signer's own default if None; `starts`, a datetime with a
    zone before which the grant does not hold; `ip`, an IPv4 address or network that alone may use it.

    Every method raises `SigningError` for a path that names nothing, or conditions that cannot be granted.
    """

    @abstractmethod
    def sign_url(
        self, path: str, *, expires_in: int | None = None, starts: datetime | None = None, ip: str | None = None
    ) -> SignedLink:
        """Sign one key, or, where `path` ends with ``/*``, everything below a prefix.

        Nowhere else is ``*`` or ``?`` a wildcard: in a key they stand for themselves.
        """

    @abstractmethod
    def sign_cookies(
        self, prefix: str, *, expires_in: int | None = None, starts: datetime | None = None, ip: str | None = None
    ) -> SignedCookies:
        """Make the cookies that open everything below `prefix`."""

    def sign_prefix(
        self, prefix: str, *, expires_in: int | None = None, starts: datetime | None = None, ip: str | None = None
    ) -> SignedLink:
        """Sign ``<prefix>/*``: everything below `prefix`, and nothing beside it."""
        return self.sign_url(f"{checked_key(prefix)}/*", expires_in=expires_in, starts=starts, ip=ip)


def checked_key(key: str) -> str:
    """Return `key` if it names an object or a prefix; raise `SigningError` otherwise."""
    try:
        return check_key(key)
    except InvalidPathError as error:
        raise SigningError(f"nothing can be signed for this path: {error}") from error
