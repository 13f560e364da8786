"""The files of an execution that is named, and asked about when its first file is read."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wildcast._errors import ApiError
from wildcast._sources import ApiSource, LastFailure, ServerSource, UrlSource, link_of, named
from wildcast.contract.policy import SignedUrl
from wildcast.contract.wire import ResultMetadata

if TYPE_CHECKING:
    from wildcast._api import Api


class ExecutionSource(UrlSource):
    """Whatever serves the files of an execution; who that is, the API says at the first request.

    Pickled it carries names alone, and once it has been used the URL: never a token.

    Parameters
    ----------
    api
        Whom to ask.
    workflow, execution_id
        What to ask for.
    partial
        Whether what there is so far will do, if it still runs.
    """

    def __init__(self, api: "Api", workflow: str, execution_id: str, *, partial: bool = False) -> None:
        self._api, self._workflow, self._execution_id = api, workflow, execution_id
        self._partial = partial
        self._lock = threading.Lock()
        self._failure = LastFailure()
        self._found: UrlSource | None = None

    @property
    def name(self) -> str:
        """Server, workflow and execution, which together name one publication."""
        return f"{self._api.base_url}/{self._workflow}/{self._execution_id}"

    @property
    def is_ready(self) -> bool:
        """Whether the API has been asked."""
        return self._found is not None

    def prepare(self) -> None:
        """Ask the API, once however many callers wait.

        Raises
        ------
        ResultsPendingError
            If the execution has not ended.
        ApiError
            If it has no results, or the API does not answer.
        """
        with self._lock:
            if self._found is None:
                self._failure.repeat()
                try:
                    self._found = self._ask()
                except ApiError as error:
                    # That an execution has not ended is no such failure: the API says so at once, and it may end soon.
                    self._failure.keep(error)
                    raise

    def _ask(self) -> UrlSource:
        metadata = self._api.results(self._workflow, self._execution_id, listed=False, partial_too=self._partial)
        return source_of(self._api, self._workflow, metadata)

    @property
    def _source(self) -> UrlSource:
        self.prepare()
        if self._found is None:
            raise RuntimeError("`prepare` found no source")
        return self._found

    @property
    def base(self) -> str:
        """The prefix's URL once it is known, before that the name."""
        return self.name if self._found is None else self._found.base

    def current(self) -> SignedUrl:
        """Return the newest URL."""
        return self._source.current()

    @property
    def storage_options(self) -> dict[str, Any]:
        """Server, workflow and execution, and whether it may still run."""
        return named(self._api, self._workflow, self._execution_id, partial=self._partial)

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes along with each request."""
        return self._source.headers

    @property
    def expects_listing(self) -> bool:
        """Always: whoever names an execution means its results."""
        return True

    @property
    def is_api(self) -> bool:
        """Whether the API itself serves the files."""
        return self._source.is_api

    @property
    def is_partial(self) -> bool:
        """Whether it still ran when the API was asked."""
        return self._source.is_partial

    def is_due(self) -> bool:
        """Whether the URL is about to end."""
        return self._source.is_due()

    def is_over(self) -> bool:
        """Whether the URL has ended."""
        return self._source.is_over()

    def renew_soon(self) -> None:
        """Begin to renew the URL."""
        self._source.renew_soon()

    def renew(self, stale: SignedUrl) -> SignedUrl | None:
        """Return another URL than `stale`."""
        return self._source.renew(stale)

    def files(self) -> Mapping[str, int] | None:
        """Return the files that the API lists."""
        return self._source.files()

    def manifest(self) -> bytes | None:
        """Return the manifest as the API has it."""
        return self._source.manifest()

    def __getstate__(self) -> tuple["Api", str, str, bool, UrlSource | None]:
        return self._api, self._workflow, self._execution_id, self._partial, self._found

    def __setstate__(self, state: tuple["Api", str, str, bool, UrlSource | None]) -> None:
        api, workflow, execution_id, partial, found = state
        self.__init__(api, workflow, execution_id, partial=partial)  # type: ignore[misc]  # the constructor's own
        self._found = found


def source_of(api: "Api", workflow: str, metadata: ResultMetadata) -> UrlSource:
    """Return where the files of a result are read.

    Raises
    ------
    UnexpectedAnswerError
        If they are read by signed URL, and there is none.
    InvalidUrlError
        If that is no such URL.
    """
    if metadata.storage_type == "server":
        return ServerSource(api, workflow, metadata.request_id)
    return ApiSource(api, workflow, metadata.request_id, link_of(metadata), partial=metadata.partial)
