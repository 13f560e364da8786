"""Running ASGI apps on bound sockets, each in a thread with an event loop of its own."""

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

AsgiApp = Callable[..., Any]


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Take a listening address; port 0 takes a free one.

    Raises
    ------
    SettingsError
        If it is not to be had; the sentence names `setting`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what listens there, or change {setting}"
        ) from error
    return taken


def url_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as this machine itself reaches it."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
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
                raise WildcastServerError(f"the {self.name} server did not start; the log says why")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 5)
        self._bound.close()
