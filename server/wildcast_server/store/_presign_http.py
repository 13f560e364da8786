"""The requests that begin and end a multipart upload: sent by ourselves, with a signature that nobody logs.

Not by the clients that are at hand otherwise: those log whole URLs, and a presigned URL is a secret.
"""

import html
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from wildcast_server.errors import InvalidUriError, MultipartError, NetworkError, StoreError
from wildcast_server.store._errors import refused
from wildcast_server.store._http import response_timeout, retry_policy
from wildcast_server.store.options import StoreOptions

_MULTIPART_CODES = {
    "NoSuchUpload",
    "InvalidPart",
    "InvalidPartOrder",
    "EntityTooSmall",
    "InvalidBlockList",
    "InvalidBlockId",
    "InvalidBlobOrBlock",
}
_NOT_FOUND = 404
_SERVER_ERRORS = 500
_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class Outgoing:
    """A request that is ready to be sent; its URL and headers may hold a signature."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Answer:
    """What a store said to a request that it granted."""

    headers: Message
    body: str

    def element(self, name: str) -> str:
        """Return the text of an XML element, or nothing."""
        return element(self.body, name)


class Sender:
    """Sends the requests of one store, and repeats those that met an outage.

    Parameters
    ----------
    options
        Proxy, certificates, time-out and retries.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._opener: OpenerDirector | None = None
        self._policy = retry_policy(options)

    def send(self, uri: str, sign: Callable[[], Outgoing], body: bytes | None = None) -> Answer:
        """Send a request; raise if the answer is not a success.

        Parameters
        ----------
        uri
            What errors are to name.
        sign
            Makes the request, anew for each try.
        body
            To go with it.
        """
        return self._policy.call(lambda: self._once(uri, sign(), body))

    def _once(self, uri: str, outgoing: Outgoing, body: bytes | None) -> Answer:
        headers = dict(outgoing.headers)
        request = Request(outgoing.url, body, headers, method=outgoing.method)  # noqa: S310 - a configured store's URL
        try:
            status, answer = self._exchange(request)
        except (OSError, HTTPException) as error:
            # Neither the error nor its text goes on: they may hold the URL.
            raise NetworkError(f"{uri}: {_reason(error)}", uri) from None
        if status not in _SUCCESS:
            raise _refusal(uri, status, answer.body, answer.headers)
        if answer.element("Code"):
            # Completing may fail after it began to answer 200 (Amazon S3 API, "CompleteMultipartUpload").
            raise _refusal(uri, _SERVER_ERRORS, answer.body, answer.headers)
        return answer

    def _exchange(self, request: Request) -> tuple[int, Answer]:
        try:
            response = self._connect().open(request, timeout=response_timeout(self._options, 0))
        except HTTPError as error:
            response = error
        with response:
            return response.status, Answer(response.headers, response.read().decode("utf-8", "replace"))

    def _connect(self) -> OpenerDirector:
        if self._opener is None:
            proxy = self._options.proxy_url
            proxies = ProxyHandler({"http": proxy, "https": proxy}) if proxy else ProxyHandler()
            self._opener = build_opener(proxies, HTTPSHandler(context=self._tls()), _NoRedirect())
        return self._opener

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        bundle = self._options.ca_bundle
        if bundle is not None:
            try:
                context.load_verify_locations(bundle)
            except OSError as error:
                raise InvalidUriError(f"the ca_bundle {bundle} cannot be read: {error.strerror}") from error
        return context


class _NoRedirect(HTTPRedirectHandler):
    """Leaves a redirect to be an error: a signature holds for one host."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "the store did not answer in time"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "the store's TLS certificate is not trusted; name the authority's certificate as ca_bundle"
    if isinstance(cause, ConnectionRefusedError):
        return "the store could not be connected to; check the endpoint"
    return f"the connection to the store failed ({type(cause).__name__})"


def element(body: str, name: str) -> str:
    """Return the text of the first XML element of that name, or nothing."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", body)
    return html.unescape(found[1].strip()) if found else ""


def multipart_refusal(uri: str, status: int, body: str, code: str = "") -> MultipartError | None:
    """Return the error of an answer that is about an upload or its parts; None if it is about something else."""
    named = element(body, "Code") or code
    if named not in _MULTIPART_CODES and (named or status != _NOT_FOUND):
        return None
    answer = f"the store answered {f'{status} {named}'.strip()}"
    return MultipartError(f"{uri}: {answer}: there is no such upload, or its parts are not these", uri)


def _refusal(uri: str, status: int, body: str, headers: Message) -> StoreError:
    code = headers.get("x-ms-error-code") or ""
    return multipart_refusal(uri, status, body, code) or refused(status, body, uri, "written")
