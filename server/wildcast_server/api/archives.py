"""Sending a whole result as one archive."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from wildcast.contract.wire import Pending
from wildcast_server.api.documented import bytes_of, errors_of, json_of, nothing_of
from wildcast_server.api.routes import readable
from wildcast_server.http.archives import FORMATS
from wildcast_server.http.conditions import condition_status
from wildcast_server.http.disposition import content_disposition
from wildcast_server.http.media_types import NO_CACHE
from wildcast_server.http.problems import another_version, problem
from wildcast_server.http.responses import Representation, head_response, not_modified_response, object_response
from wildcast_server.usecases.archive import Archive, Archives
from wildcast_server.usecases.results import Results

USUAL = next(iter(FORMATS))
"""The format of whoever names none."""

NAMES = " or ".join(FORMATS)

DESCRIPTION = """
Sends every file of the result, and its manifest, as one archive: stored, not compressed, and written while the files
are read. The paths in it begin with the execution's id. `Content-Length` is known beforehand; a download that ends
before it is not whole, because something was lost or the store failed. Ranges are not served.

The archive comes through this server wherever the result lies. For results in object storage that makes it the one
thing that is not read from the CDN: prefer the signed URL for much or many.
"""

ANSWERS = (
    bytes_of(
        200,
        "The archive.",
        media_type="application/zip",
        headers={"Content-Length": "Of the whole archive.", "ETag": "Its version.", "Content-Disposition": "Its name."},
    )
    | json_of(202, Pending, "The execution has not completed yet.", headers={"Retry-After": "In how many seconds."})
    | nothing_of(304, "The client has this version already.")
    | errors_of(400, 404, 412, 502, 503)
)

ANSWERS_BY_FORMAT = ANSWERS | errors_of(422, sentences={422: f"there is no archive format 'rar': ask for {NAMES}"})

Format = Annotated[str, Query(alias="format", description="Of the archive.", json_schema_extra={"enum": list(FORMATS)})]

ArchiveName = Annotated[
    str,
    Path(description="`<workflow_name>:<execution_id>`, which is the zip, or that with `.zip` or `.tar` behind it."),
]


class _NamedArchiveRoute(APIRoute):
    """Takes only the names that mean the archive; any other is a file's, and for the routes that come after."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE and _format_of(**child["path_params"]) is None:
            return Match.NONE, {}
        return match, child


def archive_routes(results: Results) -> APIRouter:
    """Build the routes that send results as archives; they go before that of the files, which takes every name."""
    archives = Archives(results)
    router = APIRouter(tags=["results"])
    named = APIRouter(route_class=_NamedArchiveRoute)

    @readable(
        router,
        "/{workflow_name}/{execution_id}/archive",
        summary="A whole result, as zip or tar",
        description=DESCRIPTION,
        responses=ANSWERS_BY_FORMAT,
    )
    async def by_format(
        request: Request, workflow_name: str, execution_id: str, format_name: Format = USUAL
    ) -> Response:
        if format_name not in FORMATS:
            return _no_such_format(format_name)
        return await _send(archives, request, workflow_name, execution_id, format_name)

    @readable(
        named,
        "/{workflow_name}/{execution_id}/results/{archive_name}",
        summary="A whole result, under the name that Earth2Studio's clients know",
        description=DESCRIPTION,
        responses=ANSWERS,
    )
    async def by_name(request: Request, workflow_name: str, execution_id: str, archive_name: ArchiveName) -> Response:
        format_name = _format_of(workflow_name, execution_id, archive_name) or USUAL
        return await _send(archives, request, workflow_name, execution_id, format_name)

    router.include_router(named)
    return router


def _format_of(workflow_name: str, execution_id: str, archive_name: str) -> str | None:
    """Return the format that ``<workflow>:<execution>``, with or without a suffix, asks for; None for other names."""
    whole = f"{workflow_name}:{execution_id}"
    names = {whole: USUAL} | {f"{whole}.{suffix}": suffix for suffix in FORMATS}
    return names.get(archive_name)


def _no_such_format(name: str) -> Response:
    sentence = f"there is no archive format {name!r}: ask for {NAMES}"
    details = [{"field": "format", "message": f"Input should be {NAMES}", "type": "enum"}]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, details=details)


async def _send(
    archives: Archives, request: Request, workflow_name: str, execution_id: str, format_name: str
) -> Response:
    archive = await run_in_threadpool(archives.archive, workflow_name, execution_id, FORMATS[format_name])
    response = _answer(request, archive)
    # The bytes before a range would have to be read, to be left out.
    response.headers["Accept-Ranges"] = "none"
    return response


def _answer(request: Request, archive: Archive) -> Response:
    shown = Representation(
        size=archive.size,
        etag=archive.etag,
        last_modified=archive.modified,
        content_type=archive.media_type,
        cache_control=NO_CACHE,
        disposition="attachment" + content_disposition(archive.name).removeprefix("inline"),
    )
    match condition_status(request.headers, archive.etag, archive.modified):
        case HTTPStatus.PRECONDITION_FAILED:
            return another_version("archive", archive.etag)
        case HTTPStatus.NOT_MODIFIED:
            return not_modified_response(shown)
    return head_response(shown) if request.method == "HEAD" else object_response(shown, archive.stream())
