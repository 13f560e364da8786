"""Sending a result's manifest."""

import asyncio
import gzip
import hashlib
import zlib
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from wildcast.contract.wire import Pending
from wildcast_server.api.documented import errors_of, json_of, nothing_of
from wildcast_server.api.examples import EXECUTION, PREFIX
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.threads import Threads
from wildcast_server.errors import StoreIoError
from wildcast_server.http.compression import choose_coding
from wildcast_server.http.conditions import condition_status, http_date
from wildcast_server.http.media_types import NO_CACHE
from wildcast_server.http.problems import another_version
from wildcast_server.usecases.results import Results, StoredManifest

DESCRIPTION = f"""
Lists every file of the result, each row with path, size, checksum (CRC64NVME), ETag and content type. It is the very
object `{PREFIX}/.wildcast/manifest.json.gz`; clients that do not take gzip have it as plain JSON.
"""

EXAMPLE = {
    "version": 1,
    "execution": EXECUTION,
    "attempt": 1,
    "created_at": "2026-01-28T00:39:00.410332Z",
    "verified": "crc64nvme",
    "files": 1,
    "bytes": 8123,
    "datasets": [{"path": "shallow_water.zarr", "format": "zarr3", "group": ""}],
    "rows": [
        [
            "shallow_water.zarr/zarr.json",
            8123,
            "4vsUlW4Mblo=",
            '"0cc175b9c0f1b6a831c399e269772661"',
            "application/json",
        ]
    ],
}

ANSWERS = (
    json_of(200, {"type": "object"}, "The manifest.", example=EXAMPLE, headers={"ETag": "Its version."})
    | json_of(202, Pending, "The execution has not completed yet.", headers={"Retry-After": "In how many seconds."})
    | nothing_of(304, "The client has it already.")
    | errors_of(400, 404, 412, 502, 503)
)


def manifest_routes(results: Results, threads: Threads) -> APIRouter:
    """Build the route that sends manifests; reading one waits in `threads`."""
    router = APIRouter(prefix=INFER, tags=["results"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/manifest",
        summary="The manifest of a result",
        description=DESCRIPTION,
        responses=ANSWERS,
    )
    async def manifest(workflow_name: str, execution_id: str, request: Request) -> Response:
        found, version = await threads.run(_read, results, workflow_name, execution_id)
        return await _answer(request, found, version)

    return router


def _read(results: Results, workflow_name: str, execution_id: str) -> tuple[StoredManifest, str]:
    found = results.manifest(workflow_name, execution_id)
    # Here, and not in the event loop: it may have many megabytes.
    return found, hashlib.sha256(found.data).hexdigest()[:32]


async def _answer(request: Request, found: StoredManifest, version: str) -> Response:
    is_plain = not _takes_gzip(", ".join(request.headers.getlist("accept-encoding")))
    etag = f'"{version}-plain"' if is_plain else f'"{version}"'
    headers = {
        "ETag": etag,
        "Last-Modified": http_date(found.committed_at),
        "Cache-Control": NO_CACHE,
        "Vary": "Accept-Encoding",
    }
    match condition_status(request.headers, etag, found.committed_at):
        case HTTPStatus.PRECONDITION_FAILED:
            return another_version("manifest", etag)
        case HTTPStatus.NOT_MODIFIED:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    body = found.data
    if is_plain:
        body = await asyncio.get_running_loop().run_in_executor(None, _unpacked, found.data)
    else:
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether a client would rather have gzip than plain JSON, whatever else it would like better."""
    elements = accept_encoding.split(",")
    return choose_coding(",".join(each for each in elements if "zstd" not in each.lower())) != "identity"


def _unpacked(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise StoreIoError(f"the manifest is damaged: {error}") from error
