"""One aiohttp session for each event loop, closed when its loop ends or the process does."""

import urllib.request
from urllib.parse import urlsplit

import aiohttp

from wildcast._loops import PerLoop

CONNECTIONS = 64
"""Most requests in flight from one event loop, over all filesystems."""

CONNECT_SECONDS = 15.0
"""The longest that opening a connection may take."""


def session_of_running_loop() -> aiohttp.ClientSession:
    """Return the running loop's session, opened at the first call.

    It asks for plain bytes and hands on what arrived; it follows no cookies and holds no credentials.
    """
    return _sessions.get()


def _open() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30),
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
