"""One server: its address, who one is to it, and how often it is asked."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wildcast._address import checked_token, checked_url, is_same
from wildcast._config import Config, config_path, load
from wildcast._errors import ApiError, ServerUnavailableError, UnexpectedAnswerError
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


class Surroundings:
    """What the environment and the stored login say; the file is read if it is needed, and not otherwise."""

    @cached_property
    def _config(self) -> Config:
        return load()

    @cached_property
    def server(self) -> str | None:
        """The server that is configured."""
        return os.environ.get(URL_VARIABLE) or self._config.server

    @property
    def place(self) -> str:
        """Where `server` stands."""
        return URL_VARIABLE if os.environ.get(URL_VARIABLE) else str(config_path())

    def token_for(self, url: str, *, is_trusted: bool) -> str:
        """Return the token for a server; empty if there is none.

        A stored one belongs to its server. The environment's belongs to the server that is configured; where none is,
        to the usual one and to what is trusted.
        """
        secret = os.environ.get(TOKEN_VARIABLE)
        if secret and (is_same(self.server or DEFAULT_URL, url) or (self.server is None and is_trusted)):
            return secret
        return self._config.token_for(url) or ""


class Endpoint:
    """One server's API, before anything is sent.

    Parameters
    ----------
    base_url
        Where it is; ``WILDCAST_URL``, then the server that one has logged in to, then ``http://127.0.0.1:8000``.
    token
        Sent as ``Authorization: Bearer``; empty for none. If None, it is ``WILDCAST_TOKEN`` where that is for this
        server, as `Surroundings.token_for` says, then the one that was stored for this very address.
    timeout
        Seconds that one request may stay silent.
    retry
        How often a request is repeated that may be.
    is_trusted
        Whether the program itself names the address, and not data that may be somebody else's.

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
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = RETRY,
        is_trusted: bool = True,
    ) -> None:
        around = Surroundings()
        self.base_url = checked_url(base_url or around.server or DEFAULT_URL)
        self._token = checked_token(around.token_for(self.base_url, is_trusted=is_trusted) if token is None else token)
        self._is_anonymous, self._is_trusted = token == "", is_trusted
        self._address = "the address" if base_url or not around.server else f"the address ({around.place})"
        self._timeout, self._retry = seconds_of(timeout, "timeout", "timeout=30"), retry
        self._listeners = threading.BoundedSemaphore(LISTENERS)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, token={'set' if self._token else None})"

    def __getstate__(self) -> dict[str, Any]:
        # Without the token: another process takes its own, unless there is to be none.
        kept = {"base_url": self.base_url, "timeout": self._timeout, "retry": self._retry}
        return {**kept, "is_trusted": self._is_trusted, "token": "" if self._is_anonymous else None}

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

    def failure(self, error: "httpx.RequestError") -> ApiError:
        """Return the error for a request that got no answer, or none that can be read."""
        import httpx

        if isinstance(error, httpx.LocalProtocolError):
            return ApiError(f"The request cannot be sent to {self.base_url} ({error}).")
        if isinstance(error, httpx.DecodingError):
            return UnexpectedAnswerError(
                f"{self.base_url} sent an answer that cannot be decompressed ({error}); does a proxy change it?"
            )
        return ServerUnavailableError(
            f"{self.base_url} cannot be reached ({type(error).__name__}: {error}); "
            f"check {self._address} and that the server runs."
        )
