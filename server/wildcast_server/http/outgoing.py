"""Requests to addresses that a client has named: they reach the public internet, or what the operator allows.

The address that was checked is the address that is connected to: a name is resolved once for each request, so an answer
that changes in between (DNS rebinding) changes nothing. No proxy of the environment takes part, for that would resolve
the name again; and where a redirect leads is checked as the first address was.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Literal, cast
from urllib.parse import quote, urljoin, urlsplit

from wildcast_server.errors import DeliveryFailedError, ForbiddenAddressError
from wildcast_server.http.addresses import Network, address_of, is_permitted

MAX_URL = 2048
"""Characters that a URL may have."""

MAX_REDIRECTS = 3

MAX_BODY = 64 << 10
"""Bytes of an answer that are read; nobody looks at them."""

_REDIRECTS = (HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_.-]+")
_UNWANTED = re.compile(r"[\x00-\x20\x7f\\]")

Resolve = Callable[[str, int], Sequence[str]]
"""Finds the addresses of a host and port, in order of preference; raises `OSError` if there is none."""


@dataclass(frozen=True)
class Target:
    """A URL, read once: what is checked and what is connected to are the same value."""

    scheme: Literal["http", "https"]
    host: str
    """A name in ASCII, or an address without brackets."""
    port: int
    path: str
    """With the query, as it is sent."""

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read an absolute URL.

        Raises
        ------
        ForbiddenAddressError
            If it is no URL of http or https, or one with a user's name or password.
        """
        try:
            return _read(url)
        except ForbiddenAddressError:
            raise
        except ValueError as error:
            raise ForbiddenAddressError("that is no URL such as https://example.org/hook") from error

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages: a path may hold a token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __repr__(self) -> str:
        return f"Target({self.origin!r})"


def _read(url: str) -> Target:
    if len(url) > MAX_URL or _UNWANTED.search(url):
        raise ValueError
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ForbiddenAddressError("the URL begins with neither https:// nor http://")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenAddressError("the URL must have no user name and no password in it")
    host = parts.hostname or ""
    if "[" in parts.netloc:
        host = str(address_of(host))
    else:
        host = host.encode("idna").decode("ascii").lower()
        if not _NAME.fullmatch(host):
            raise ValueError
    port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    if port == 0:
        raise ValueError
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    return Target(cast("Literal['http', 'https']", parts.scheme), host, port, f"{path}?{query}" if query else path)


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver. It also understands the older forms of an address, such as 0x7f000001."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True)
class Outgoing:
    """Sends POST requests to URLs that others have chosen.

    Parameters
    ----------
    allowed
        Networks that may be reached although they are not public.
    timeout
        Seconds that one request may take, from the connection to the answer.
    resolve
        Finds a host's addresses.
    tls
        Whose certificates are believed; None: those that the system believes.
    """

    allowed: Sequence[Network] = ()
    timeout: float = 10.0
    resolve: Resolve = resolve
    tls: ssl.SSLContext | None = None

    def check(self, url: str) -> None:
        """Look at a URL without looking its host up; that is done anew whenever it is called.

        Raises
        ------
        ForbiddenAddressError
            If it could never be called.
        """
        target = Target.of(url)
        with suppress(OSError):
            # Numbers alone: this asks nobody. `inet_aton` reads what the resolver would read as an address of IPv4.
            literal = target.host if ":" in target.host else socket.inet_ntoa(socket.inet_aton(target.host))
            self._check_addresses(target, [literal])
        if target.host.rstrip(".") == "localhost" or target.host.rstrip(".").endswith(".localhost"):
            self._check_addresses(target, ["127.0.0.1"])

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send `body`, following redirects that ask for the same request elsewhere (307, 308); return the status.

        Raises
        ------
        ForbiddenAddressError
            If the URL, or one that it redirects to, leads where requests may not go.
        DeliveryFailedError
            If there was no answer.
        """
        target = Target.of(url)
        for _ in range(1 + MAX_REDIRECTS):
            status, location = self._send(target, body, headers)
            if status not in _REDIRECTS or location is None:
                return status
            target = _redirected(target, location)
        raise DeliveryFailedError(f"there were more than {MAX_REDIRECTS} redirects, the last one to {target.origin}")

    def _send(self, target: Target, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        """Make one request; return the status and where it redirects to."""
        ends = time.monotonic() + self.timeout
        try:
            with closing(self._connect(target, ends)) as plain, _cut_off(plain, ends):
                return self._exchange(plain, target, body, headers, ends)
        except (OSError, HTTPException) as error:
            why = _reason(error) if time.monotonic() < ends else f"it took longer than {self.timeout:g} seconds"
            raise DeliveryFailedError(f"{target.origin} did not answer: {why}") from error

    def _exchange(
        self, plain: socket.socket, target: Target, body: bytes, headers: Mapping[str, str], ends: float
    ) -> tuple[int, str | None]:
        connection = HTTPConnection(target.host, target.port)
        # With its socket given it opens none of its own.
        connection.sock = self._wrapped(plain, target)
        with closing(connection):
            connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", target.origin.partition("://")[2])
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            response = connection.getresponse()
            if time.monotonic() >= ends:
                # Headers that were cut off look as if they had come to their end.
                raise TimeoutError
            return response.status, _location(response)

    def _connect(self, target: Target, ends: float) -> socket.socket:
        """Connect to one of the host's addresses, all of which are checked before."""
        try:
            addresses = self.resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise DeliveryFailedError(f"the host of {target.origin} is not known") from error
        self._check_addresses(target, addresses)
        failure: OSError = OSError("it has no address")
        for address in addresses:
            try:
                return socket.create_connection((address, target.port), timeout=max(ends - time.monotonic(), 0.01))
            except OSError as error:
                failure = error
        raise failure

    def _check_addresses(self, target: Target, addresses: Sequence[str]) -> None:
        # Which address it is stays unsaid: whoever sends URLs could map the network by it.
        try:
            permitted = all(is_permitted(address_of(address), self.allowed) for address in addresses)
        except ValueError:
            permitted = False
        if not permitted:
            raise ForbiddenAddressError(
                f"{target.origin} is not on the public internet, and requests may not go there: "
                "the operator of this server can allow its network in webhooks.allowed_networks"
            )

    def _wrapped(self, plain: socket.socket, target: Target) -> socket.socket:
        if target.scheme == "http":
            return plain
        # Checked against the name of the URL, although it is an address that is connected to.
        return self._tls.wrap_socket(plain, server_hostname=target.host)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self.tls or ssl.create_default_context()


def _redirected(target: Target, location: str) -> Target:
    try:
        redirected = Target.of(urljoin(f"{target.origin}{target.path}", location))
    except ValueError as error:
        raise ForbiddenAddressError(f"{target.origin} redirects to what is no URL to call") from error
    if target.scheme == "https" and redirected.scheme == "http":
        raise ForbiddenAddressError(f"{target.origin} redirects from https to http")
    return redirected


@contextmanager
def _cut_off(plain: socket.socket, ends: float) -> Iterator[None]:
    """End a connection when its time is over, however little at a time the other side sends."""
    # The handshake takes the socket's number away from `plain`; a second one ends the same connection.
    with plain.dup() as same:

        def cut() -> None:
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(ends - time.monotonic(), 0.0), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _location(response: HTTPResponse) -> str | None:
    # Whoever answers is spared a reset connection; what it says changes nothing any more.
    with suppress(OSError, HTTPException):
        response.read(MAX_BODY)
    return response.headers.get("Location")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return f"it does not speak HTTP ({type(error).__name__})"
