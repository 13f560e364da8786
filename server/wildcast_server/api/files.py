"""Sending single files of a result."""

import re
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from wildcast.contract.naming import InvalidPathError
from wildcast.contract.wire import Pending
from wildcast_server.api.documented import bytes_of, errors_of, json_of, nothing_of
from wildcast_server.api.routes import readable
from wildcast_server.errors import NotFoundError, StoreIoError
from wildcast_server.http.conditions import condition_status, quoted_etag, range_holds
from wildcast_server.http.disposition import content_disposition
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.http.problems import another_version, problem
from wildcast_server.http.ranges import Requested, Span, parse_ranges, resolve_all
from wildcast_server.http.responses import (
    Representation,
    close,
    head_response,
    not_modified_response,
    object_response,
    ranges_response,
)
from wildcast_server.store import ByteRange, ObjectInfo
from wildcast_server.usecases.results import Results, ServedFile

AMBIGUOUS = re.compile(r"%2f|%5c|%00", re.IGNORECASE)
"""Encodings that a proxy or a file system might read as something else than a character of a name."""

PATH_PARAMETER = {
    "name": "path",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "As `output_files` lists it; it may leave out the execution's id.",
}
"""The documentation of what `_path_as_sent` reads."""

DESCRIPTION = """
Sends any file that `output_files` lists. `Range` may name up to 100 ranges; they, `If-Range` and the conditions
`If-Match`, `If-None-Match`, `If-Modified-Since` and `If-Unmodified-Since` mean what RFC 9110 says. HEAD has the
headers alone. A browser shows a file, and runs no script in it.

Where results lie in object storage, the answer is a redirect to the file's signed URL, made for this request.
"""

ANSWERS = (
    bytes_of(200, "The whole file.", headers={"ETag": "The file's version.", "Content-Disposition": "Its name."})
    | bytes_of(
        206,
        "The range that was asked for; several come as `multipart/byteranges`, those that overlap or touch as one.",
        headers={"Content-Range": "Where a single range lies, and the size of the file."},
    )
    | json_of(202, Pending, "The execution has not completed yet.", headers={"Retry-After": "In how many seconds."})
    | nothing_of(304, "The client has this version already.")
    | nothing_of(307, "The file lies in object storage.", headers={"Location": "Its signed URL."})
    | errors_of(400, 404, 412, 416, 502, 503)
)

BEFORE_PATH = 6
"""The slashes of a URL's path before that of the file: ``/v1/infer/{workflow_name}/{execution_id}/results/``."""


def file_routes(results: Results) -> APIRouter:
    """Build the route that sends single files."""
    router = APIRouter(tags=["results"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/results/{path:path}",
        summary="One file of a result",
        description=DESCRIPTION,
        responses=ANSWERS,
        openapi_extra={"parameters": [PATH_PARAMETER]},
    )
    async def file(workflow_name: str, execution_id: str, request: Request) -> Response:
        path = _path_as_sent(request)
        found = await run_in_threadpool(results.file, workflow_name, execution_id, path)
        if isinstance(found, ServedFile):
            response = await _send_or_say_lost(request, found)
            # Pages and drawings would run their scripts as if they were this service's own.
            response.headers["Content-Security-Policy"] = "sandbox"
            return response
        return RedirectResponse(found.url, HTTPStatus.TEMPORARY_REDIRECT, {"Cache-Control": "no-store"})

    return router


def _path_as_sent(request: Request) -> str:
    """Return the file's path, decoded once; a slash or dots that were encoded do not become path syntax."""
    raw = request.scope["raw_path"].decode("ascii", "replace")
    # An encoded slash anywhere: with one before the file's path, that would begin elsewhere.
    encoded = None if "%2f" in raw.lower() else raw.split("/", BEFORE_PATH)[BEFORE_PATH]
    if encoded is None or AMBIGUOUS.search(encoded):
        raise InvalidPathError(
            "the path has an encoded slash, backslash or NUL in it: send the file's path as it is listed"
        )
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise InvalidPathError("the path is not UTF-8") from None


async def _send_or_say_lost(request: Request, file: ServedFile) -> Response:
    try:
        return await _send(request, file)
    except NotFoundError as error:
        # The manifest lists it. Zarr's readers take 404 for "never written", and would fill the chunk in.
        raise StoreIoError(f"{file.key} belongs to the result, and is not in its store any more", error.uri) from error


async def _send(request: Request, file: ServedFile) -> Response:
    info = await run_in_threadpool(file.store.head, file.key)
    shown = Representation(
        size=info.size,
        etag=info.etag,
        last_modified=info.last_modified,
        content_type=content_type(file.key),
        cache_control=cache_control(file.key),
        disposition=content_disposition(file.key),
    )
    etag = quoted_etag(info.etag)
    status = condition_status(request.headers, etag, info.last_modified)
    if status is HTTPStatus.PRECONDITION_FAILED:
        return another_version("file", etag)
    if status is HTTPStatus.NOT_MODIFIED:
        return not_modified_response(shown)
    if request.method == "HEAD":
        return head_response(shown)
    holds = range_holds(request.headers.get("if-range"), etag, info.last_modified)
    requested = parse_ranges(request.headers.get("range")) if holds else ()
    return await _send_ranges(file, info, shown, requested)


async def _send_ranges(
    file: ServedFile, info: ObjectInfo, shown: Representation, requested: Sequence[Requested]
) -> Response:
    async def open_span(span: Span) -> AsyncIterator[bytes]:
        return await _read(file, info, ByteRange(span.start, span.stop))

    spans = resolve_all(requested, info.size)
    match spans:
        case [] if requested:
            sentence = f"the file has {info.size} bytes, and the range begins behind them"
            headers = {"Content-Range": f"bytes */{info.size}"}
            return problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, sentence, headers=headers)
        case [span] if span.length:
            return object_response(shown, await open_span(span), span)
        case [_, _, *_]:
            return ranges_response(shown, spans, open_span)
    # No range, or the last bytes of an empty file: those are all of it.
    return object_response(shown, await _read(file, info, None))


async def _read(file: ServedFile, info: ObjectInfo, byte_range: ByteRange | None) -> AsyncIterator[bytes]:
    """Begin to read the very object that `info` describes."""
    stream = await file.store.stream(file.key, byte_range)
    if stream.info.etag != info.etag:
        await close(stream.chunks)
        raise StoreIoError(f"{file.key} was replaced while it was being sent", file.store.uri)
    return stream.chunks
