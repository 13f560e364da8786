"""Where a filesystem's URL comes from, and how it stays fresh."""

import contextlib
import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wildcast._calls import Target
from wildcast._errors import (
    InvalidUrlError,
    ResultChangedError,
    UnexpectedAnswerError,
    UnknownExecutionError,
    UnsupportedError,
    WildcastError,
)
from wildcast.contract.naming import is_publication
from wildcast.contract.policy import SignedUrl, parse_signed_url
from wildcast.contract.wire import ResultMetadata

if TYPE_CHECKING:
    from wildcast._api import Api

RENEW_BEFORE = 60.0
"""Seconds before its end at which a URL is renewed; a quarter of its lifetime where that is shorter."""

_ASK_AGAIN = 5.0
"""Seconds for which an attempt to renew a URL that failed is not repeated; twice as many after each further one."""

_ASK_AGAIN_AT_MOST = 60.0
"""Seconds that those become at most, while the URL is still good."""


class LastFailure:
    """What the API answered last, if it was an error.

    Whoever waited while another asked in vain gets that answer, and does not ask again one after the other.

    Parameters
    ----------
    clock
        Seconds on a steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: tuple[float, WildcastError] | None = None

    def keep(self, error: WildcastError) -> None:
        """Keep an error for `_ASK_AGAIN` seconds."""
        self._failed = (self._clock(), error)

    def repeat(self) -> None:
        """Raise the error that was kept, if one was a moment ago."""
        if self._failed is not None and self._clock() - self._failed[0] < _ASK_AGAIN:
            raise self._failed[1]


class UrlSource(ABC):
    """Says under which URL and with which headers the files of a publication are read, now."""

    @property
    @abstractmethod
    def base(self) -> str:
        """The prefix's URL without signature and trailing slash; it stays the same when the URL is renewed."""

    @abstractmethod
    def current(self) -> SignedUrl:
        """Return the URL as it is known, at once."""

    @property
    def name(self) -> str:
        """A name for the publication without signature, known without asking anybody."""
        return self.base

    @property
    def label(self) -> str:
        """A short name for the publication that no other one has; known once `is_ready`."""
        last = self.base.rpartition("/")[2]
        return last if is_publication(last) else hashlib.sha256(self.base.encode()).hexdigest()[:16]

    @property
    def is_ready(self) -> bool:
        """Whether the URL is known; `prepare` asks for it otherwise."""
        return True

    def prepare(self) -> None:  # noqa: B027 - most have nothing to find out
        """Find out what the other members tell; may wait for the network."""

    @property
    def storage_options(self) -> dict[str, Any]:
        """What opens the publication again in another process; empty where that would be a secret."""
        return {}

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes along with each request."""
        return {}

    @property
    def expects_listing(self) -> bool:
        """Whether the prefix is known to be a publication, so that a missing manifest means that it is gone."""
        return False

    @property
    def is_api(self) -> bool:
        """Whether the API itself serves the files, so that its errors say what is wrong."""
        return False

    @property
    def is_partial(self) -> bool:
        """Whether these are the files that were there while the execution still ran."""
        return False

    @property
    def directory(self) -> str:
        """Where in its publication these files lie; empty for all of it."""
        return ""

    @property
    def manifest_link(self) -> SignedUrl | None:
        """The publication's URL for its manifest, if that is not read as all other files."""
        return None

    def is_due(self) -> bool:
        """Whether the URL should be renewed now."""
        return False

    def is_over(self) -> bool:
        """Whether the URL has ended, so that the next request must wait for `renew`."""
        return False

    def renew_soon(self) -> None:  # noqa: B027 - most have nobody to ask
        """Begin to renew the URL, for which nobody waits: it is still good."""

    def renew(self, stale: SignedUrl) -> SignedUrl | None:
        """Return another URL than `stale`, or None if nobody can be asked; may wait for the network."""
        del stale
        return None

    def files(self) -> Mapping[str, int] | None:
        """Return the files and their sizes as the API knows them, or None; may wait for the network."""
        return None

    def manifest(self) -> bytes | None:
        """Return the manifest as the API has it, or None; may wait for the network."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base})"


class ApiSource(UrlSource):
    """A signed URL that the API renews.

    Pickled it carries the API's address, the execution and the current URL, never the token: another process
    takes its own, from ``WILDCAST_TOKEN`` or the stored login.

    Parameters
    ----------
    api
        Whom to ask.
    workflow, execution_id
        What to ask for.
    first
        The URL to begin with.
    partial
        Whether to ask for what there is of an execution that still runs.
    clock, wall
        Seconds on a steady clock, and seconds since the epoch.
    """

    def __init__(
        self,
        api: "Api",
        workflow: str,
        execution_id: str,
        first: SignedUrl,
        *,
        partial: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api, self._workflow, self._execution_id = api, workflow, execution_id
        self._partial = partial
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._failure = LastFailure(clock)
        self._renewer: threading.Thread | None = None
        self._take(first)

    def _take(self, url: SignedUrl) -> None:
        self._url, self._failures = url, 0
        lifetime = 0.0 if url.expires_at is None else url.expires_at.timestamp() - self._wall()
        # On the steady clock: a wrong wall clock then costs a refused request, not a renewal with each read.
        self._end = self._clock() + lifetime if lifetime > 0 else float("inf")
        self._due = self._end - min(RENEW_BEFORE, lifetime / 4)

    @property
    def base(self) -> str:
        """The prefix's URL."""
        return self._url.base

    @property
    def storage_options(self) -> dict[str, Any]:
        """Server, workflow and execution, and whether it may still run."""
        return named(self._api, self._workflow, self._execution_id, partial=self._partial)

    @property
    def expects_listing(self) -> bool:
        """Always: the API has said that it is a publication."""
        return True

    @property
    def is_partial(self) -> bool:
        """Whether it still ran when this was made."""
        return self._partial

    def current(self) -> SignedUrl:
        """Return the newest URL."""
        return self._url

    def is_due(self) -> bool:
        """Whether the URL is about to end."""
        return self._clock() >= self._due

    def is_over(self) -> bool:
        """Whether the URL has ended, by a clock that nobody sets."""
        return self._clock() >= self._end

    def renew_soon(self) -> None:
        """Begin to renew the URL in a thread of its own, unless one is at it."""
        if self._renewer is None or not self._renewer.is_alive():
            # Of no pool, whose threads a process that ends waits for: an API may be silent for minutes.
            self._renewer = threading.Thread(
                target=self._renew_quietly, args=(self._url,), name="wildcast-renew", daemon=True
            )
            self._renewer.start()

    def _renew_quietly(self, stale: SignedUrl) -> None:
        # What went wrong is said when the URL has ended, if it then still does.
        with contextlib.suppress(WildcastError):
            self.renew(stale)

    def renew(self, stale: SignedUrl) -> SignedUrl | None:
        """Ask the API for another URL, once however many callers wait.

        Raises
        ------
        ApiError, ExecutionError
            If the API does not answer, or gives none.
        ResultChangedError
            If the execution was published anew under another prefix.
        """
        with self._lock:
            if self._url is not stale:
                return self._url
            self._failure.repeat()
            try:
                self._take(self._ask())
            except WildcastError as error:
                self._failure.keep(error)
                self._due = self._clock() + min(_ASK_AGAIN * 2**self._failures, _ASK_AGAIN_AT_MOST)
                self._failures += 1
                raise
            return self._url

    def _ask(self) -> SignedUrl:
        metadata = self._api.results(self._workflow, self._execution_id, listed=False, partial_too=self._partial)
        fresh = link_of(metadata)
        if fresh.base != self._url.base:
            raise ResultChangedError(
                f"{self._execution_id} was published anew under another address; open the result again."
            )
        return fresh

    def files(self) -> Mapping[str, int] | None:
        """Return the files that the API lists."""
        return self._api.listing(self._workflow, self._execution_id, partial_too=self._partial)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "api": self._api,
            "workflow": self._workflow,
            "execution_id": self._execution_id,
            "first": self._url,
            "partial": self._partial,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # the constructor's own arguments, from __getstate__


class ServerSource(UrlSource):
    """Files that the API itself serves, with the API's token and no signature; pickled without the token.

    Parameters
    ----------
    api
        Who serves them.
    workflow, execution_id
        Whose they are.
    """

    def __init__(self, api: "Api", workflow: str, execution_id: str) -> None:
        self._api, self._workflow, self._execution_id = api, workflow, execution_id
        target = Target(workflow, execution_id)
        self._url = SignedUrl(base=f"{api.base_url}{target.files}", query="", policy=None, expires_at=None)

    @property
    def base(self) -> str:
        """The URL below which the API serves the files."""
        return self._url.base

    @property
    def storage_options(self) -> dict[str, Any]:
        """Server, workflow and execution."""
        return named(self._api, self._workflow, self._execution_id)

    @property
    def expects_listing(self) -> bool:
        """Always: the API has said that it has results."""
        return True

    @property
    def is_api(self) -> bool:
        """Always."""
        return True

    def current(self) -> SignedUrl:
        """Return the URL."""
        return self._url

    @property
    def headers(self) -> Mapping[str, str]:
        """The API's token."""
        return self._api.authorization

    def files(self) -> Mapping[str, int] | None:
        """Return the files that the API lists."""
        return self._api.listing(self._workflow, self._execution_id)

    def manifest(self) -> bytes | None:
        """Return the manifest; None of a server that has none."""
        try:
            return self._api.manifest(self._workflow, self._execution_id)
        except (UnsupportedError, UnknownExecutionError):
            return None


def named(api: "Api", workflow: str, execution_id: str, *, partial: bool = False) -> dict[str, Any]:
    """Return the storage options that name an execution; `partial`: one that may still run."""
    names = {"server": api.base_url, "workflow": workflow, "execution": execution_id}
    return {**names, "partial": True} if partial else names


def parse(signed_url: str) -> SignedUrl:
    """Parse a wildcard signed URL; its end may be unknown.

    Raises
    ------
    InvalidUrlError
        If it is no such URL; the sentence does not repeat it.
    """
    try:
        # As read from a file, with its line end.
        return parse_signed_url(signed_url.strip())
    except ValueError as error:
        raise InvalidUrlError(f"This is no wildcard signed URL such as https://…/prefix/*?Policy=…: {error}") from None


def link_of(metadata: ResultMetadata) -> SignedUrl:
    """Return the signed URL of a result; where the URL itself does not tell its end, the API does.

    Raises
    ------
    UnexpectedAnswerError
        If there is none.
    InvalidUrlError
        If it is no such URL.
    """
    if metadata.signed_url is None:
        raise UnexpectedAnswerError(f"The API gives no signed URL for {metadata.request_id}; ask its operators.")
    link, told = parse(metadata.signed_url), metadata.expires_at
    if link.expires_at is not None or told is None:
        return link
    return replace(link, expires_at=told.replace(tzinfo=told.tzinfo or UTC))


def has_ended(url: SignedUrl, now: datetime | None = None) -> bool:
    """Whether the URL's own end has passed, as far as this machine's clock can tell."""
    return url.expires_at is not None and url.expires_at <= (now or datetime.now(UTC))
