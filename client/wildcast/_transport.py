"""Requests below a signed prefix: retried where that helps, renewed where the URL has ended, never guessed at.

What an answer means is settled here once (Amazon CloudFront's and S3's answers; RFC 9110 for the rest):

======================================  ==========================================================
404                                     `MissingFileError`; the filesystem asks the manifest about it
400, 401, 403, 410 of the API           `AccessRefusedError` with the API's own sentence
403 of the store behind a CDN           `OriginRefusedError`, which no other URL would change
401, 403 of a CDN                       renewed and repeated once, then `AccessRefusedError` or `UrlExpiredError`
416 to a range                          `RangeNotSatisfiableError`
408, 425, 429, 5xx, a broken network    repeated, then `StoreUnavailableError`
too few bytes, an encoding, a redirect  repeated, then `TransferBrokenError`
======================================  ==========================================================
"""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from wildcast._absent import missing
from wildcast._errors import (
    AccessRefusedError,
    ApiError,
    ExecutionError,
    OriginRefusedError,
    RangeNotSatisfiableError,
    ReadError,
    StoreUnavailableError,
    TransferBrokenError,
    UrlExpiredError,
    shown,
)
from wildcast._loops import Shared, in_daemon_thread
from wildcast._problems import short_sentence
from wildcast._retry import Retry, parse_retry_after
from wildcast._seconds import seconds_of
from wildcast._sessions import CONNECT_SECONDS, proxy_for, session_of_running_loop
from wildcast._sources import UrlSource, has_ended
from wildcast.contract.naming import quote_key
from wildcast.contract.policy import SignedUrl

T = TypeVar("T")

OK = 200
PARTIAL = 206
MISSING = 404
NOT_SATISFIABLE = 416
_TRANSIENT = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_REDIRECTS = range(300, 400)
_FORBIDDEN = 403
_REFUSES = frozenset({401, _FORBIDDEN})
_API_REFUSES = _REFUSES | {400, 410}
"""The API's answers for results that it gives nobody any more, as those that have expired, or not to this caller."""

_NO_REASON = "it gives no reason; open the result again, with a token that may read it."

LONGEST_BODY = 64 * 1024
"""Bytes of an error's body that are read; a longer one is not the API's."""

Receive = Callable[[aiohttp.ClientResponse], Awaitable[T]]
"""Reads a good answer's body; called again, from the beginning, for each attempt."""


class Transport:
    """Makes the requests of one filesystem.

    Parameters
    ----------
    source
        The URL and its renewal.
    retry
        How often, and how soon, a request is repeated.
    timeout
        Seconds that a connection may stay silent; None for as long as it takes.

    Raises
    ------
    ValueError
        If the timeout is no number.
    """

    def __init__(self, source: UrlSource, retry: Retry, timeout: float | None) -> None:
        self._source = source
        self._retry = retry
        silence = None if timeout is None else seconds_of(timeout, "timeout", "timeout=60")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        self._proxies: dict[str, str | None] = {}
        self._preparing = Shared(lambda: in_daemon_thread(source.prepare, "wildcast-ask"))
        self._renewing: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def request(
        self,
        path: str,
        receive: Receive[T],
        *,
        method: str = "GET",
        headers: Callable[[], Mapping[str, str]] = dict,
        link: SignedUrl | None = None,
    ) -> T:
        """Request one file and hand its answer to `receive`, which is called for 200 and 206 only.

        `headers` is asked before each attempt, so that a download can go on where it was broken off. `link` is used in
        the place of the source's, and nobody renews it.

        Raises
        ------
        ReadError
            As the table of this module says.
        """
        failures, renewed = 0, False
        while True:
            current = link or await self._fresh_link()
            try:
                return await self._attempt(current, path, receive, method, dict(headers()))
            except AccessRefusedError as refusal:
                is_final = renewed or link is not None or isinstance(refusal, OriginRefusedError)
                if is_final or not await self._renew_after(refusal, current):
                    raise
                renewed = True
            except (StoreUnavailableError, TransferBrokenError) as error:
                failures += 1
                if not self._retry.allows(failures):
                    raise
                await asyncio.sleep(self._retry.pause(failures, getattr(error, "retry_after", None)))

    def _proxy(self, base: str) -> str | None:
        # To ask the environment takes a third of a small request.
        if base not in self._proxies:
            self._proxies[base] = proxy_for(base)
        return self._proxies[base]

    async def prepare(self) -> None:
        """Have the source know what it must ask for."""
        if not self._source.is_ready:
            await self._preparing.result()

    async def _attempt(
        self, link: SignedUrl, path: str, receive: Receive[T], method: str, headers: dict[str, str]
    ) -> T:
        request = session_of_running_loop().request(
            method,
            url_of(link, path),
            headers={**headers, **self._source.headers},
            allow_redirects=False,
            timeout=self._timeout,
            proxy=self._proxy(link.base),
        )
        # No cause: aiohttp's own texts and objects carry the URL with its signature.
        try:
            async with request as response:
                if response.status not in (OK, PARTIAL):
                    body = await _body_of(response) if self._source.is_api or response.status == _FORBIDDEN else b""
                    if not self._source.is_api and _is_of_s3(response, body):
                        raise _refused_by_origin(path, link)
                    said = short_sentence(body) or "" if self._source.is_api else None
                    error = _failure(response, path, link, said, ranged="Range" in headers)
                    error.status = response.status
                    raise error
                _check_plain(response, path)
                return await receive(response)
        except aiohttp.ClientPayloadError:
            raise TransferBrokenError(f"Reading {shown(path)} broke off in the middle; try again.") from None
        except (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError) as error:
            raise ReadError(f"{_where(link)} cannot be connected to ({type(error).__name__}).") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise StoreUnavailableError(
                f"{_where(link)} could not be reached for {shown(path)} ({type(error).__name__}); "
                "check the network and try again."
            ) from None

    async def _fresh_link(self) -> SignedUrl:
        await self.prepare()
        source = self._source
        if source.is_due() and not source.is_over():
            source.renew_soon()
        elif source.is_due():
            # In vain it may still be good, if a clock is wrong; if it is not, the refusal says so.
            with contextlib.suppress(ApiError, ExecutionError):
                await self._renew(source.current(), only_if_due=True)
        return source.current()

    async def _renew_after(self, refusal: AccessRefusedError, link: SignedUrl) -> bool:
        try:
            return await self._renew(link) is not None
        except (ApiError, ExecutionError) as error:
            failed = type(refusal)(f"{refusal} Renewing the URL failed: {error}")
            failed.status = refusal.status
            raise failed from error

    async def _renew(self, stale: SignedUrl, *, only_if_due: bool = False) -> SignedUrl | None:
        # One thread for each loop at most, however many readers wait; the source sees to one over all loops.
        async with self._renewing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if only_if_due and not self._source.is_due():
                return self._source.current()
            return await asyncio.to_thread(self._source.renew, stale)


def url_of(link: SignedUrl, path: str) -> URL:
    """Return the URL of one file: its name percent-encoded once, the query exactly as it was signed."""
    query = f"?{link.query}" if link.query else ""
    return URL(f"{link.base.rstrip('/')}/{quote_key(path)}{query}", encoded=True)


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """Return an error's body; nothing of one that is too long to be what is looked for."""
    body = bytearray()
    async for piece in response.content.iter_chunked(LONGEST_BODY):
        body += piece
        if len(body) > LONGEST_BODY:
            return b""
    return bytes(body)


def _is_of_s3(response: aiohttp.ClientResponse, body: bytes) -> bool:
    """Whether S3 behind the CDN has refused: it names itself, or its request in the body. CloudFront does neither."""
    if response.status != _FORBIDDEN:
        return False
    return "AmazonS3" in response.headers.getall("Server", ()) or (b"<RequestId>" in body and b"<HostId>" in body)


def _refused_by_origin(path: str, link: SignedUrl) -> OriginRefusedError:
    error = OriginRefusedError(
        f"{_where(link)} took the signature, and the store behind it refused {shown(path)} ({_FORBIDDEN}): it is "
        "missing, or the CDN may not read it. Grant the CDN s3:GetObject and s3:ListBucket on the bucket: then the "
        "two differ."
    )
    error.status = _FORBIDDEN
    return error


def _failure(
    response: aiohttp.ClientResponse, path: str, link: SignedUrl, said: str | None, *, ranged: bool
) -> ReadError:
    """Return the error of an answer; `said` is the API's own sentence, and None for any other server."""
    status = response.status
    answered = f"{_where(link)} answered {status} for {shown(path)}"
    if status == MISSING:
        return missing(path)
    if status in (_REFUSES if said is None else _API_REFUSES):
        return _refusal(path, status, link, said)
    if status == NOT_SATISFIABLE and ranged:
        # Without the words that zarr takes for an empty object: nothing says how long this one should be.
        return RangeNotSatisfiableError(f"{answered}: it ends before the part that was asked for; open it again.")
    if status in _TRANSIENT or status in _SERVER_ERRORS:
        wait = parse_retry_after(response.headers.get("Retry-After"))
        return StoreUnavailableError(f"{answered}{f': {said}' if said else ''}; try again later.", wait)
    if status in _REDIRECTS:
        return TransferBrokenError(
            f"{_where(link)} redirects {shown(path)} elsewhere; a login page or proxy may be in between."
        )
    return ReadError(
        f"{answered}: {said}"
        if said
        else f"{answered}, which no reader can use; something else may answer in its place."
    )


def _check_plain(response: aiohttp.ClientResponse, path: str) -> None:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise TransferBrokenError(f"{shown(path)} arrived encoded as {encoding[:20]!r}, although plain was asked for.")


def _refusal(path: str, status: int, link: SignedUrl, said: str | None) -> AccessRefusedError:
    if said is not None:
        return AccessRefusedError(f"{_where(link)} refused {shown(path)} ({status}): {said or _NO_REASON}")
    if has_ended(link):
        return UrlExpiredError(
            f"The signed URL ended at {link.expires_at}, so {shown(path)} cannot be read; get a new one from the API."
        )
    if not link.query:
        return AccessRefusedError(
            f"{_where(link)} refused {shown(path)} ({status}), and the URL has no signature: give a signed one, "
            "`https://…/prefix/*?Policy=…`."
        )
    return AccessRefusedError(
        f"{_where(link)} refused {shown(path)} ({status}); the URL may belong to another prefix or network, "
        "or its key may have been withdrawn. Get a new one from the API."
    )


def _where(link: SignedUrl) -> str:
    parts = urlsplit(link.base)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}"
