"""Those who take the steps of flows: one that blocks, and one for asyncio."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildcast._flows import Close, Done, Flow, Give, Next, Open, Request, Run, Send, Sleep, Step, Stream, T
from wildcast._loops import PerLoop

if TYPE_CHECKING:
    import ssl

    import httpx


def _arguments(request: Request) -> dict[str, Any]:
    """Return what `httpx` calls the parts of a request."""
    import httpx

    return {
        "method": request.method,
        "url": request.path,
        "params": httpx.QueryParams(list(request.params)),
        "content": request.content,
        "headers": {**({} if request.content is None else {"Content-Type": "application/json"}), **request.headers},
        "timeout": httpx.USE_CLIENT_DEFAULT if request.timeout is None else _silence(request.timeout),
    }


def _silence(seconds: float) -> "httpx.Timeout":
    import httpx

    # To wait for a connection that others use is no silence of the server.
    return httpx.Timeout(seconds, pool=None)


@dataclass
class _Connections:
    """What one process has of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    http: "httpx.Client | None" = None


class SyncDriver:
    """Takes the steps of flows, blocking; threads may share it, and a forked child has connections of its own.

    Parameters
    ----------
    options
        What the `httpx.Client` is made with, at the first request.
    timeout
        Seconds that a request may stay silent that has no time of its own.
    """

    def __init__(self, options: Mapping[str, Any], timeout: float) -> None:
        self._options, self._timeout = options, timeout
        self._processes: dict[int, _Connections] = {}

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end, and return what it returns."""
        with _SyncRun(self._client, flow) as run:
            step = run.advance()
            while isinstance(step, Give):
                step = run.advance()
            value: T = step.value
            return value

    def iterate(self, flow: Flow[Any]) -> Iterator[Any]:
        """Yield what a flow gives, as it is asked for; who stops ends the flow."""
        with _SyncRun(self._client, flow) as run:
            while isinstance(step := run.advance(), Give):
                yield step.value

    def close(self) -> None:
        """Close the connections; the next step opens new ones."""
        mine = self._mine
        with mine.lock:
            http, mine.http = mine.http, None
        if http is not None:
            http.close()

    @property
    def _mine(self) -> _Connections:
        # Neither a parent's connections, on which its answers arrive, nor its lock, which one of its threads may hold.
        return self._processes.setdefault(os.getpid(), _Connections())

    def _client(self) -> "httpx.Client":
        mine = self._mine
        with mine.lock:
            if mine.http is None:
                import httpx

                mine.http = httpx.Client(**self._options, verify=_tls_context(), timeout=_silence(self._timeout))
                # Whoever forgets to close the client leaves no open sockets behind.
                weakref.finalize(self, _close, mine.http, os.getpid())
            return mine.http


def _tls_context() -> "ssl.SSLContext":
    """Return what httpx would make for each client; loading the certificate authorities takes 50 ms."""
    bundle = os.environ.get("SSL_CERT_FILE")
    age = None
    with suppress(OSError):
        age = Path(bundle).stat().st_mtime_ns if bundle else None
    return _tls_context_of(bundle, os.environ.get("SSL_CERT_DIR"), age)


@lru_cache(4)
def _tls_context_of(_bundle: str | None, _directory: str | None, _age: int | None) -> "ssl.SSLContext":
    """Make one for what httpx reads in the environment: the parameters tell when that has changed."""
    import httpx

    return httpx.create_ssl_context()


def _close(http: "httpx.Client", pid: int) -> None:
    if pid == os.getpid():
        http.close()


def _in_time(seconds: float | None, ask: "Callable[[], httpx.Response]") -> "httpx.Response":
    """Return an answer, if it is there in so many seconds; httpx counts them for each connect and read alone.

    Whoever asks is left to itself when it is late: nothing ends a thread that looks for an address, or reads.
    """
    if seconds is None:
        return ask()
    answer: Future[httpx.Response] = Future()

    def wait() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        return answer.result(seconds)
    except BaseException as error:
        answer.add_done_callback(_close_late)
        if isinstance(error, TimeoutError):
            raise _too_late(seconds) from None
        raise


def _close_late(answer: "Future[httpx.Response]") -> None:
    if answer.exception() is None:
        answer.result().close()


@asynccontextmanager
async def _at_most(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise _too_late(seconds) from None


def _too_late(seconds: float | None) -> "httpx.TimeoutException":
    import httpx

    return httpx.ReadTimeout(f"no answer within {seconds:.1f} seconds")


class _SyncRun(ExitStack):
    def __init__(self, client: "Callable[[], httpx.Client]", flow: Flow[Any]) -> None:
        super().__init__()
        self._client, self._flow = client, Run(flow)
        self._chunks: dict[Stream, Iterator[bytes]] = {}
        self.callback(self._flow.close)

    def advance(self) -> Give | Done:
        """Take steps until the flow gives something, or ends."""
        step = self._flow.resume()
        while not isinstance(step, Give | Done):
            try:
                outcome = self._take(step)
            except Exception as error:  # noqa: BLE001 - it is the flow's, which raises what it does not expect
                step = self._flow.fail(error)
            else:
                step = self._flow.resume(outcome)
        return step

    def _take(self, step: Step) -> Any:
        match step:
            case Send(request):
                return _in_time(request.within, lambda: self._client().request(**_arguments(request)))
            case Sleep(seconds):
                return time.sleep(seconds)
            case Open(request):
                return self._open(request)
            case Next(stream):
                return next(self._chunks[stream], None)
            case Close(stream):
                return stream.response.close()

    def _open(self, request: Request) -> Stream:
        client = self._client()
        asked = client.build_request(**_arguments(request))
        stream = Stream(_in_time(request.within, lambda: client.send(asked, stream=True)))
        self.callback(stream.response.close)
        self._chunks[stream] = stream.response.iter_bytes()
        return stream


class AsyncDriver:
    """Takes the steps of flows in asyncio.

    Parameters
    ----------
    options
        What the `httpx.AsyncClient` is made with, at the first request in a loop.
    timeout
        Seconds that a request may stay silent that has no time of its own.
    """

    def __init__(self, options: Mapping[str, Any], timeout: float) -> None:
        self._options, self._timeout = options, timeout
        self._clients = PerLoop(self._open, lambda client: client.aclose())

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end, and return what it returns; cancelled, it closes what it has open."""
        async with _AsyncRun(self._client, flow) as run:
            step = await run.advance()
            while isinstance(step, Give):
                step = await run.advance()
            value: T = step.value
            return value

    async def iterate(self, flow: Flow[Any]) -> AsyncIterator[Any]:
        """Yield what a flow gives, as it is asked for."""
        async with _AsyncRun(self._client, flow) as run:
            while isinstance(step := await run.advance(), Give):
                yield step.value

    async def aclose(self) -> None:
        """Close the running loop's connections; the next step opens new ones."""
        await self._clients.aclose()

    def _client(self) -> "httpx.AsyncClient":
        return self._clients.get()

    def _open(self) -> "httpx.AsyncClient":
        import httpx

        return httpx.AsyncClient(**self._options, verify=_tls_context(), timeout=_silence(self._timeout))


class _AsyncRun(AsyncExitStack):
    def __init__(self, client: "Callable[[], httpx.AsyncClient]", flow: Flow[Any]) -> None:
        super().__init__()
        self._client, self._flow = client, Run(flow)
        self._chunks: dict[Stream, AsyncIterator[bytes]] = {}
        self.callback(self._flow.close)

    async def advance(self) -> Give | Done:
        """Take steps until the flow gives something, or ends."""
        step = self._flow.resume()
        while not isinstance(step, Give | Done):
            try:
                outcome = await self._take(step)
            except Exception as error:  # noqa: BLE001 - it is the flow's, which raises what it does not expect
                step = self._flow.fail(error)
            else:
                step = self._flow.resume(outcome)
        return step

    async def _take(self, step: Step) -> Any:
        match step:
            case Send(request):
                async with _at_most(request.within):
                    return await self._client().request(**_arguments(request))
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Open(request):
                return await self._open(request)
            case Next(stream):
                return await anext(self._chunks[stream], None)
            case Close(stream):
                return await stream.response.aclose()

    async def _open(self, request: Request) -> Stream:
        async with _at_most(request.within):
            stream = Stream(await self.enter_async_context(self._client().stream(**_arguments(request))))
        self._chunks[stream] = stream.response.aiter_bytes()
        return stream
