"""Addresses of servers, and the tokens for them, checked before they are used."""

from urllib.parse import urlsplit

from wildcast._errors import InvalidUrlError

_PORTS = {"http": 80, "https": 443}


def checked_url(url: str) -> str:
    """Return the address of an API, without a slash at its end.

    Raises
    ------
    InvalidUrlError
        If it is none, or has a password in it, which is not repeated.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        # Line ends, which `urlsplit` leaves out, and names that no resolver takes.
        valid = valid and url.isprintable() and " " not in url and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        raise InvalidUrlError("The API's address is no URL; give it as http://host:port.") from None
    if not valid or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidUrlError("The API's address must be http://host:port or https://…, without password and query.")
    return url.rstrip("/")


def checked_token(token: str) -> str:
    """Return a token that a header can carry.

    Raises
    ------
    ValueError
        If none can; the sentence does not show it.
    """
    if not token.isascii() or any(character.isspace() or not character.isprintable() for character in token):
        raise ValueError("The token has characters that no header can carry; was it copied whole, and nothing else?")
    return token


def identity(url: str) -> str:
    """Return the one spelling of an address: by it a token belongs to a server, and to no other.

    Raises
    ------
    InvalidUrlError
        As `checked_url`.
    """
    parts = urlsplit(checked_url(url))
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}:{parts.port or _PORTS[parts.scheme]}{parts.path}"


def is_same(url: str, other: str) -> bool:
    """Whether two addresses are of one server, which what is no address is not."""
    try:
        return identity(url) == identity(other)
    except InvalidUrlError:
        return False
