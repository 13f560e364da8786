"""One aiohttp session for each event loop, closed when its loop ends or the process does."""

import urllib.request
from types import ModuleType
from urllib.parse import urlsplit

import aiohttp

from wildcast._loops import PerLoop

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, where sockets are no descriptors.
    resource = None

MOST_CONNECTIONS = 128
"""Over 100 ms of distance 64 take half as long again for 500 small objects."""

LEAST_CONNECTIONS = 16

CONNECT_SECONDS = 15.0
"""The longest that opening a connection may take."""


def connections() -> int:
    """Return the most requests in flight from one event loop, over all filesystems.

    A quarter at most of the descriptors that the process may have, 256 on macOS by default: there may be two loops,
    zarr's and fsspec's, and connections that wait to be used again.
    """
    if resource is None:
        return MOST_CONNECTIONS
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, int(allowed) // 4))


def session_of_running_loop() -> aiohttp.ClientSession:
    """Return the running loop's session, opened at the first call.

    It asks for plain bytes and hands on what arrived; it follows no cookies and holds no credentials.
    """
    return _sessions.get()


def _open() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections(), keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    )


_sessions = PerLoop(_open, aiohttp.ClientSession.close)


def proxy_for(base: str) -> str | None:
    """Return the HTTP proxy that the environment names for this URL, as every client reads it; None for none.

    Credentials in ``~/.netrc`` are left alone: they would be sent along with the signature.
    """
    parts = urlsplit(base)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all") or ""
    return found if found.startswith(("http://", "https://")) else None
