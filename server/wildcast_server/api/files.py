"""Sending single files of a result."""

import re
from http import HTTPStatus
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from wildcast.contract.naming import InvalidPathError
from wildcast_server.api.routes import readable
from wildcast_server.errors import NotFoundError, StoreIoError
from wildcast_server.http.conditions import is_not_modified, quoted_etag, range_holds
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.http.problems import problem
from wildcast_server.http.ranges import parse_range, resolve
from wildcast_server.http.responses import Representation, head_response, not_modified_response, object_response
from wildcast_server.store import ByteRange
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

BEFORE_PATH = 6
"""The slashes of a URL's path before that of the file: ``/v1/infer/{workflow_name}/{execution_id}/results/``."""


def file_routes(results: Results) -> APIRouter:
    """Build the route that sends single files."""
    router = APIRouter(tags=["results"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/results/{path:path}",
        summary="One file of a result",
        openapi_extra={"parameters": [PATH_PARAMETER]},
    )
    async def file(workflow_name: str, execution_id: str, request: Request) -> Response:
        path = _path_as_sent(request)
        found = await run_in_threadpool(results.file, workflow_name, execution_id, path)
        if isinstance(found, ServedFile):
            return await _send_or_say_lost(request, found)
        return RedirectResponse(found.url, HTTPStatus.TEMPORARY_REDIRECT, {"Cache-Control": "no-store"})

    return router


def _path_as_sent(request: Request) -> str:
    """Return the file's path, decoded once; a slash or dots that were encoded do not become path syntax."""
    raw = request.scope["raw_path"].decode("ascii", "replace")
    encoded = raw.split("/", BEFORE_PATH)[BEFORE_PATH]
    # An encoded slash anywhere: with one before the file's path, that would begin elsewhere.
    if AMBIGUOUS.search(encoded) or "%2f" in raw.lower():
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
    etag = quoted_etag(info.etag)
    shown = Representation(
        size=info.size,
        etag=info.etag,
        last_modified=info.last_modified,
        content_type=content_type(file.key),
        cache_control=cache_control(file.key),
    )
    if is_not_modified(request.headers, etag, info.last_modified):
        return not_modified_response(shown)
    if request.method == "HEAD":
        return head_response(shown)
    requested = parse_range(request.headers.get("range"))
    if not range_holds(request.headers.get("if-range"), etag, info.last_modified):
        requested = None
    span = resolve(requested, info.size)
    if span is None:
        sentence = f"the file has {info.size} bytes, and the range begins behind them"
        headers = {"Content-Range": f"bytes */{info.size}"}
        return problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, sentence, headers=headers)
    if requested is None:
        return object_response(shown, (await file.store.stream(file.key)).chunks)
    return object_response(shown, (await file.store.stream(file.key, ByteRange(span.start, span.stop))).chunks, span)
