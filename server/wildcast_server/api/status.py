"""Asking where an execution stands, at once or when that changes."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wildcast.contract.wire import StatusAnswer
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import errors_of, json_of, nothing_of
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.standings import Standings
from wildcast_server.api.waiting import Waiting
from wildcast_server.http.conditions import has_version
from wildcast_server.records import Standing
from wildcast_server.usecases.lookup import status_of

LONGEST_WAIT = 60.0
"""Seconds; who asks for more is answered after so many."""

DESCRIPTION = """
`status` is `queued`, `running`, `pending_results` (computed, and being published), and at last `completed`, `failed`,
`cancelled` or `expired`. `position` counts from 0 and is null once the execution runs. `progress` is null, or has
`progress`, `current_step` and `total_steps` (each may be null) and what else the workflow reports.

The answer is what the records hold when it is asked for. Ask as often as once a second; or, with `wait`, be answered
when something changes, and after so many seconds, at most 60, if nothing does. Of what has ended the answer comes at
once. With the `ETag` of the answer before in `If-None-Match`, nothing that changed in between is missed, and where
nothing did the answer is 304.
"""

Wait = Annotated[
    float | None,
    Query(ge=0, allow_inf_nan=False, description="For how many seconds to wait for a change; 60 at most."),
]


def status_routes(standings: Standings, waiting: Waiting) -> APIRouter:
    """Build the route that reports on an execution: mount it as a route of the app itself, before all others."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/status",
        summary="Where an execution stands",
        description=DESCRIPTION,
        responses=json_of(200, StatusAnswer, "Where it stands.", headers={"ETag": "What to send as `If-None-Match`."})
        | nothing_of(304, "It stands where the client knows it to stand.")
        | errors_of(404, 422, 503, sentences={422: WRONG_WAIT}),
    )
    async def status(workflow_name: str, execution_id: str, request: Request, wait: Wait = None) -> Response:
        standing = await standings.of(workflow_name, execution_id)
        if wait and request.method == "GET" and _is_to_wait(request, standing):
            standing = await _changed(request, waiting, workflow_name, standing, min(wait, LONGEST_WAIT))
        headers = {**FRESH, "ETag": etag_of(standing)}
        if has_version(request.headers, headers["ETag"]):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return answer(status_of(standing), headers=headers)

    return router


WRONG_WAIT = "the request cannot be understood: wait: Input should be greater than or equal to 0"


def etag_of(standing: Standing) -> str:
    """Return the version of an answer about an execution; a weak one, because the seconds in it count on."""
    position = "" if standing.position is None else f".{standing.position}"
    return f'W/"v{standing.execution.version}{position}"'


def _is_to_wait(request: Request, standing: Standing) -> bool:
    if "if-none-match" in request.headers:
        return has_version(request.headers, etag_of(standing))
    return not standing.execution.status.is_final


async def _changed(
    request: Request, waiting: Waiting, workflow_name: str, before: Standing, seconds: float
) -> Standing:
    """Wait for a change, and no longer than the client does."""
    changed = asyncio.ensure_future(waiting.changed(workflow_name, before, seconds))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({changed, gone}, return_when=asyncio.FIRST_COMPLETED)
        return changed.result() if changed.done() else before
    finally:
        changed.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
