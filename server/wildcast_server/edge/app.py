"""The edge as an ASGI application.

It answers nothing but keys, so no path of its own hides one: to see whether it is up, ask for ``/`` without a
signature and expect CloudFront's 403 `MissingKey`.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from wildcast_server.edge import refusals
from wildcast_server.edge.target import Target, TargetError, parse_target
from wildcast_server.errors import NotFoundError, RangeNotSatisfiableError, SettingsError, StoreError
from wildcast_server.http.conditions import condition_status, quoted_etag, range_holds
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.http.ranges import Requested, RequestedSuffix, Span, parse_range, resolve
from wildcast_server.http.responses import (
    Representation,
    close,
    head_response,
    not_modified_response,
    object_response,
)
from wildcast_server.signing.cloudfront import normalize_domain
from wildcast_server.signing.verify import Refusal, RefusedError, Verifier
from wildcast_server.store.base import (
    ByteRange,
    ObjectInfo,
    ObjectRange,
    ObjectStore,
    ObjectStream,
    OffsetRange,
    SuffixRange,
)

log = logging.getLogger(__name__)

ALLOWED_METHODS = ("GET", "HEAD", "OPTIONS")
_ALLOW = ", ".join(ALLOWED_METHODS)


def create_edge(
    store: ObjectStore, verifier: Verifier, *, public_url: str, cors_origins: Sequence[str] = ("*",)
) -> ASGIApp:
    """Make an edge that serves `store`'s objects to whoever has a signature for them.

    Parameters
    ----------
    store
        The origin; a URL's path is the key.
    verifier
        Knows the public keys.
    public_url
        Scheme, host and port under which clients reach the edge: what they sign for, and what their ``Host`` names.
    cors_origins
        Origins whose pages may read, or ``*``. Never with credentials, so pages use signed URLs and not cookies.

    Raises
    ------
    SettingsError
        If `public_url` has a path, or no scheme.

    Notes
    -----
    Serve it without the server's own ``Server`` header, access log (it would hold signatures) and proxy headers (an
    IP condition would believe them): uvicorn's ``server_header=False, access_log=False, proxy_headers=False``.
    """
    return CORSMiddleware(
        Router(redirect_slashes=False, default=_Edge(store, verifier, public_url)),
        allow_origins=tuple(cors_origins),
        allow_methods=ALLOWED_METHODS,
        allow_headers=("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
        expose_headers=("Accept-Ranges", "Content-Range", "Content-Length", "ETag", "Last-Modified"),
    )


class _Edge:
    """One request: parse, check, open, answer."""

    def __init__(self, store: ObjectStore, verifier: Verifier, public_url: str) -> None:
        if "://" not in public_url:
            raise SettingsError(
                f"the edge's public URL {public_url!r} has no scheme; write it like http://127.0.0.1:8001"
            )
        self._store = store
        self._verifier = verifier
        self._base_url = normalize_domain(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer: ASGIApp = await self._answer(Request(scope, receive))
        else:
            answer = WebSocketClose()
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in ALLOWED_METHODS:
            return refusals.method_not_allowed(_ALLOW)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": _ALLOW})
        try:
            target = parse_target(_raw_path(request.scope), request.scope["query_string"])
            self._check(request, target)
            return refusals.no_such_key() if target.key is None else await self._serve(request, target.key)
        except (TargetError, RefusedError, StoreError) as error:
            _log(request, error)
            return refusals.answer_to(error)

    def _check(self, request: Request, target: Target) -> None:
        if not self._is_addressed(request.headers.getlist("host")):
            raise RefusedError(Refusal.ACCESS_DENIED, "the request is for another host")
        ip = request.client.host if request.client else None
        cookie = "; ".join(request.headers.getlist("cookie"))
        self._verifier.check(self._base_url + target.suffix, cookie=cookie, ip=ip)

    def _is_addressed(self, hosts: list[str]) -> bool:
        try:
            return [normalize_domain(f"{urlsplit(self._base_url).scheme}://{host}") for host in hosts] == [
                self._base_url
            ]
        except SettingsError:
            return False

    async def _serve(self, request: Request, key: str) -> Response:
        requested = parse_range(request.headers.get("range")) if request.method == "GET" else None
        try:
            stream = await self._open(key, requested)
        except RangeNotSatisfiableError:
            stream = await self._store.stream(key)
            refused = _range_holds(request, stream.info) and resolve(requested, stream.info.size) is None
            return await _response(request, key, stream, None, range_refused=refused)
        if requested is not None and not _range_holds(request, stream.info):
            await close(stream.chunks)
            requested, stream = None, await self._store.stream(key)
        span = Span(stream.start, stream.stop) if requested is not None else None
        return await _response(request, key, stream, span)

    async def _open(self, key: str, requested: Requested | None) -> ObjectStream:
        if requested == RequestedSuffix(0):
            raise RangeNotSatisfiableError("a suffix of no bytes is not satisfiable")
        return await self._store.stream(key, _store_range(requested))


def _raw_path(scope: Scope) -> bytes:
    # Every ASGI server that we run gives the path as it was sent; the decoded one would be ambiguous.
    raw: bytes = scope["raw_path"]
    return raw


def _log(request: Request, error: Exception) -> None:
    path = request.scope["raw_path"].decode("ascii", "backslashreplace")
    if isinstance(error, NotFoundError):
        # Ordinary: zarr asks for chunks that were never written.
        log.debug("%s does not exist", path)
    elif isinstance(error, StoreError):
        log.warning("the store failed for %s: %s", path, error)
    else:
        log.info("refused %s: %s", path, error)


def _store_range(requested: Requested | None) -> ObjectRange | None:
    if requested is None:
        return None
    if isinstance(requested, RequestedSuffix):
        return SuffixRange(requested.length)
    return OffsetRange(requested.first) if requested.last is None else ByteRange(requested.first, requested.last + 1)


def _range_holds(request: Request, info: ObjectInfo) -> bool:
    return range_holds(request.headers.get("if-range"), quoted_etag(info.etag), info.last_modified)


async def _response(
    request: Request, key: str, stream: ObjectStream, span: Span | None, *, range_refused: bool = False
) -> Response:
    info, kept = stream.info, stream.attributes
    representation = Representation(
        size=info.size,
        etag=info.etag,
        last_modified=info.last_modified,
        content_type=kept.content_type or content_type(key),
        cache_control=kept.cache_control or cache_control(key),
    )
    # Conditions come before the range (RFC 9110 §13.2.2).
    status = condition_status(request.headers, quoted_etag(info.etag), info.last_modified)
    if status is not None or range_refused or request.method == "HEAD":
        await close(stream.chunks)
    if status is HTTPStatus.PRECONDITION_FAILED:
        return refusals.precondition_failed()
    if status is HTTPStatus.NOT_MODIFIED:
        return not_modified_response(representation)
    if range_refused:
        return refusals.invalid_range(info.size)
    if request.method == "HEAD":
        return head_response(representation)
    return object_response(representation, stream.chunks, span)
