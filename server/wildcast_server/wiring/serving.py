"""Running ASGI apps on bound sockets, each in a thread with an event loop of its own."""

import errno
import resource
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from wildcast_server.errors import SettingsError, WildcastServerError

START_SECONDS = 10.0
STOP_SECONDS = 10
BACKLOG = 2048
"""Connections that wait to be taken; uvicorn's own number."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: clients that ask every ten or thirty seconds keep theirs."""

OPEN_FILES = 65_536
"""Enough for as many clients as one process can answer; every connection is an open file."""

AsgiApp = Callable[..., Any]


def allow_many_connections() -> None:
    """Raise this process's limit of open files, which many systems begin at 1,024, as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(host: str, port: int, section: str) -> socket.socket:
    """Take a listening address, and listen: who connects from now on is served as soon as there is a server.

    Parameters
    ----------
    host, port
        Where; port 0 takes a free one.
    section
        Of the settings that they come from, for the sentence.

    Raises
    ------
    SettingsError
        If it is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        # Not left to the server: until one of them listens, Linux lets two processes bind the same port.
        taken.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that can be no name
        taken.close()
        if isinstance(error, UnicodeError) or error.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
            reason, advice = "that is no address of this machine", f"change {section}.host"
        else:
            reason = error.strerror or str(error)
            advice = f"stop what listens there, or change {section}.port or {section}.host"
        raise SettingsError(f"cannot listen on {host}:{port} ({reason}): {advice}") from error
    return taken


def url_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as this machine itself reaches it."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Tells its app before it stops: ``app.state.before_shutdown``, if there is one, lets go of those who wait."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        before = getattr(getattr(self.config.app, "state", None), "before_shutdown", None)
        if before is not None:
            # Else every stream would hold the stop up for as long as it may.
            before()
        await super().shutdown(sockets)


class ServerThread:
    """One app served on one socket, as a context manager.

    Its access log is off: request lines hold signatures.
    """

    def __init__(self, name: str, app: AsgiApp, bound: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            # Nothing here speaks them.
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = _Server(config)
        self._bound = bound
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name=name, daemon=True)

    @property
    def name(self) -> str:
        """What it serves."""
        return self._thread.name

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self.is_alive or time.monotonic() > deadline:
                self._stop()
                raise WildcastServerError(f"the {self.name} server did not start; the log says why")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 5)
        self._bound.close()
