"""The API's calls that block, for those who read results; `_calls` has all of them, as data."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from wildcast import _calls
from wildcast._asking import asked
from wildcast._calls import Call, SignatureKind, Target
from wildcast._drivers import AsyncDriver, SyncDriver
from wildcast._endpoint import RETRY, Endpoint
from wildcast._flows import Flow, T
from wildcast._retry import Retry
from wildcast.contract.wire import ResultMetadata, SignedAnswer


class Api(Endpoint):
    """One server's API, for those who wait for its answers; pickled without the token.

    Parameters
    ----------
    base_url, token, timeout, retry, is_trusted
        As `Endpoint` has them.

    Raises
    ------
    InvalidUrlError, ConfigError, ValueError
        As `Endpoint` raises them.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = RETRY,
        is_trusted: bool = True,
    ) -> None:
        super().__init__(base_url, token, timeout=timeout, retry=retry, is_trusted=is_trusted)
        self._driver = SyncDriver(self.http_options(), self._timeout)

    @property
    def blocking(self) -> "Api":
        """Itself."""
        return self

    def run(self, flow: Flow[T]) -> T:
        """Run a flow, and return what it returns."""
        return self._driver.run(flow)

    def iterate(self, flow: Flow[Any]) -> Iterator[Any]:
        """Yield what a flow gives."""
        return self._driver.iterate(flow)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._driver.close()

    def workflows(self) -> dict[str, str]:
        """Return the names of the workflows, and what each does."""
        return self._asked(_calls.workflows())

    def results(
        self, workflow: str, execution_id: str, *, listed: bool = True, partial_too: bool = False
    ) -> ResultMetadata:
        """Return what an execution has published, with a URL signed now; not `listed`, its files may be left out.

        Raises
        ------
        ResultsPendingError
            If it has not ended; `partial_too`, if nothing of it is there.
        ApiError
            If there are no results, or no answer.
        """
        return self._asked(_calls.results(Target(workflow, execution_id), listed=listed, partial_too=partial_too))

    def listing(self, workflow: str, execution_id: str, *, partial_too: bool = False) -> dict[str, int] | None:
        """Return the files of a result and their sizes in bytes; None if it lists none, or not all."""
        return listed_files(self.results(workflow, execution_id, partial_too=partial_too))

    def sign(
        self,
        workflow: str,
        execution_id: str,
        *,
        path: str | None = None,
        expires_in: float | timedelta | None = None,
        ip: str | None = None,
        kind: SignatureKind = "url",
    ) -> SignedAnswer:
        """Ask for a signed URL, or cookies, for a result or a part of it.

        Parameters
        ----------
        workflow, execution_id
            Whose result it is.
        path
            A file or directory of the result, relative to it; all of it if None.
        expires_in
            Seconds until the signature ends; as long as that of the result's metadata if None.
        ip
            An IPv4 address or network that alone may use it.
        kind
            ``url`` or ``cookies``.

        Raises
        ------
        UnsupportedError
            If the server signs nothing on request, as Earth2Studio's.
        ApiError
            If it signs nothing for this, or does not answer.
        """
        target = Target(workflow, execution_id)
        return self._asked(_calls.sign(target, path=path, expires_in=expires_in, ip=ip, kind=kind))

    def manifest(self, workflow: str, execution_id: str) -> bytes:
        """Return the manifest of a result, as `decode_manifest` takes it.

        Raises
        ------
        ResultsPendingError
            If the execution has not ended.
        UnsupportedError
            If the server has no manifests, as Earth2Studio's.
        ApiError
            If there is none, or no answer.
        """
        return self._asked(_calls.manifest(Target(workflow, execution_id)))

    def _asked(self, call: Call[T]) -> T:
        return self.run(asked(self, call))


class AsyncApi(Endpoint):
    """One server's API, for those who await its answers.

    Parameters
    ----------
    base_url, token, timeout, retry, is_trusted
        As `Endpoint` has them.

    Raises
    ------
    InvalidUrlError, ConfigError, ValueError
        As `Endpoint` raises them.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = RETRY,
        is_trusted: bool = True,
    ) -> None:
        super().__init__(base_url, token, timeout=timeout, retry=retry, is_trusted=is_trusted)
        self._driver = AsyncDriver(self.http_options(), self._timeout)
        self._blocking: Api | None = None

    @property
    def blocking(self) -> Api:
        """The same server for those who block, as files that are read do, in threads of their own."""
        if self._blocking is None:
            token = "" if self._is_anonymous else self._token or None
            options: dict[str, Any] = {"timeout": self._timeout, "retry": self._retry, "is_trusted": self._is_trusted}
            self._blocking = Api(self.base_url, token, **options)
        return self._blocking

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow, and return what it returns."""
        return await self._driver.run(flow)

    def iterate(self, flow: Flow[Any]) -> AsyncIterator[Any]:
        """Yield what a flow gives."""
        return self._driver.iterate(flow)

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        await self._driver.aclose()
        if self._blocking is not None:
            self._blocking.close()


def listed_files(metadata: ResultMetadata) -> dict[str, int] | None:
    """Return paths relative to the publication, and sizes in bytes; None if the metadata do not list every file.

    A file that this lacks reads as one that was never written, so a list of another form is as good as none.
    """
    if not metadata.output_files:
        return None
    if metadata.publication is not None and metadata.publication.files != len(metadata.output_files):
        return None
    prefix = f"{metadata.request_id}/"
    if not all(file.path.startswith(prefix) for file in metadata.output_files):
        return None
    return {file.path.removeprefix(prefix): file.size for file in metadata.output_files}
