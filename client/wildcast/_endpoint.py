"""One server: its address, who one is to it, and how often it is asked."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wildcast._address import checked_token, checked_url
from wildcast._config import Config, config_path, load
from wildcast._errors import ServerUnavailableError
from wildcast._retry import Retry
from wildcast._seconds import seconds_of
from wildcast._version import __version__

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
TOKEN_VARIABLE = "WILDCAST_TOKEN"  # noqa: S105 - the variable's name
URL_VARIABLE = "WILDCAST_URL"

RETRY = Retry(attempts=5, base=0.5, cap=8.0)
LISTENERS = 64
"""Event streams that one client holds open at most: each keeps a connection, of which it has a hundred."""

_REPEATED = frozenset({429, 502, 503, 504})


class Endpoint:
    """One server's API, before anything is sent.

    Parameters
    ----------
    base_url
        Where it is; ``WILDCAST_URL``, then the server that one has logged in to, then ``http://127.0.0.1:8000``.
    token
        Sent as ``Authorization: Bearer``; ``WILDCAST_TOKEN``, then the one that was stored for this very address.
    timeout
        Seconds that one request may stay silent.
    retry
        How often a request is repeated that may be.

    Raises
    ------
    InvalidUrlError
        If `base_url` is no ``http`` or ``https`` URL, or has a password in it.
    ConfigError
        If the stored configuration is needed and cannot be used.
    ValueError
        If the token cannot be sent in a header, or the timeout is no number.
    """

    repeated = _REPEATED
    """The statuses after which a request is sent again."""

    def __init__(
        self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0, retry: Retry = RETRY
    ) -> None:
        variable = os.environ.get(URL_VARIABLE, "")
        secret = token or os.environ.get(TOKEN_VARIABLE) or ""
        # What is not needed is not read: whoever gives both needs no configuration that can be read.
        config = load() if not (base_url or variable) or not secret else Config()
        given = base_url or variable or config.server or DEFAULT_URL
        self.base_url = checked_url(given)
        self._token = checked_token(secret or config.token_for(self.base_url) or "")
        self._address = "the address"
        if not base_url and (variable or config.server):
            self._address += f" ({URL_VARIABLE if variable else config_path()})"
        self._timeout, self._retry = seconds_of(timeout, "timeout", "timeout=30"), retry
        self._listeners = threading.BoundedSemaphore(LISTENERS)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, token={'set' if self._token else None})"

    def __getstate__(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "timeout": self._timeout, "retry": self._retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # the constructor's own arguments, from __getstate__

    @property
    def authorization(self) -> Mapping[str, str]:
        """The header with the token; empty without one."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @property
    def timeout(self) -> float:
        """Seconds that one request may stay silent."""
        return self._timeout

    @property
    def retry_policy(self) -> Retry:
        """How often a request is repeated that may be."""
        return self._retry

    @contextmanager
    def listening(self) -> Iterator[bool]:
        """Take one of the places of those who hold a stream open, until the end; whether there was one."""
        has_place = self._listeners.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place:
                self._listeners.release()

    def http_options(self) -> dict[str, Any]:
        """Return what `httpx.Client` and `httpx.AsyncClient` are made with."""
        headers = {"Accept": "application/json", "User-Agent": f"wildcast/{__version__}", **self.authorization}
        return {"base_url": self.base_url, "headers": headers}

    def unreachable(self, error: "httpx.TransportError") -> ServerUnavailableError:
        """Return the error for a request that got no answer."""
        return ServerUnavailableError(
            f"{self.base_url} cannot be reached ({type(error).__name__}: {error}); "
            f"check {self._address} and that the server runs."
        )
