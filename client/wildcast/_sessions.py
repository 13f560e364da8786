"""One aiohttp session for each event loop, closed when its loop ends or the process does."""

import asyncio
import atexit
import contextlib
import os
import urllib.request
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import aiohttp

CONNECTIONS = 64
"""Most requests in flight from one event loop, over all filesystems."""

CONNECT_SECONDS = 15.0
"""The longest that opening a connection may take."""

_CLOSE_SECONDS = 2.0

_Key = tuple[int, asyncio.AbstractEventLoop]
# A forked child must not touch its parent's connections: hence the process id beside the loop.
_open: dict[_Key, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]] = {}


def session_of_running_loop() -> aiohttp.ClientSession:
    """Return the running loop's session, opened at the first call.

    It asks for plain bytes and hands on what arrived; it follows no cookies and holds no credentials.
    """
    key = (os.getpid(), asyncio.get_running_loop())
    known = _open.get(key)
    if known is None or known[0].closed:
        _forget_closed_loops()
        known = _open[key] = _start(key)
        # Registered for each session, so that it runs before the clean-up of a loop that is older than the session.
        atexit.register(_close_at_exit, key)
    return known[0]


def _start(key: _Key) -> tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    )
    scope = _scope(key, session)
    # Its first step has nothing to wait for, so it is taken here and now: no other task can come between.
    with contextlib.suppress(StopIteration):
        anext(scope).send(None)
    return session, scope


async def _scope(key: _Key, session: aiohttp.ClientSession) -> AsyncGenerator[aiohttp.ClientSession, None]:
    # A suspended generator is what `asyncio.run` and `loop.shutdown_asyncgens` close in their own loop at its end.
    try:
        yield session
    finally:
        _open.pop(key, None)
        await session.close()


def _forget_closed_loops() -> None:
    for key in [key for key in list(_open) if key[1].is_closed()]:
        _open.pop(key, None)


def _close_at_exit(key: _Key) -> None:
    known, (pid, loop) = _open.get(key), key
    if known is None or pid != os.getpid() or loop.is_closed():
        return
    with contextlib.suppress(Exception):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(known[1].aclose(), loop).result(_CLOSE_SECONDS)
        else:
            loop.run_until_complete(known[1].aclose())


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
