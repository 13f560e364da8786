"""An execution's changes as server-sent events (HTML Living Standard §9.2)."""

import time
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from wildcast.contract.wire import Ended
from wildcast_server.api.answers import FRESH
from wildcast_server.api.documented import bytes_of, errors_of, nothing_of
from wildcast_server.api.examples import EXECUTION, WORKFLOW
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.standings import Standings
from wildcast_server.api.waiting import Waiting, stands_elsewhere
from wildcast_server.errors import ServiceUnavailableError, UnknownExecutionError
from wildcast_server.records import Standing
from wildcast_server.usecases.lookup import status_of, whole_progress
from wildcast_server.usecases.progress import PUBLICATION

COMMENT_SECONDS = 15.0
"""After so long without an event a comment is sent: proxies take a connection that is silent for dead."""

RETRY_MILLISECONDS = 2000
"""What a browser waits before it connects again."""

MEDIA_TYPE = "text/event-stream"

DESCRIPTION = """
A stream of server-sent events, from where the execution stands now to its end:

- `status`, first, and whenever the status or the position changes: the answer of `GET …/status`.
- `progress`: what the workflow reports.
- `upload`: how far publishing has come: `files_done`, `files_total`, `bytes_done`, `bytes_total`, `bytes_per_second`,
  `seconds_left`.
- `end`, last: the final `status`. Then the stream ends.

Several changes may be one event, which tells the latest. The id of an event is the version of the execution; a client
that connects again with `Last-Event-ID` is told what has changed since, or gets 204 if it has seen the end already.
Where nothing happens, a comment comes every 15 seconds. A server that stops ends its streams, and the next one goes on.
"""

EXAMPLE = f"""retry: {RETRY_MILLISECONDS}

event: status
id: 3
data: {{"workflow_name":"{WORKFLOW}","execution_id":"{EXECUTION}","status":"running"}}

event: progress
id: 4
data: {{"progress":null,"current_step":5,"total_steps":12}}

"""

LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The id of the last event that was received.",
}


def event_routes(standings: Standings, waiting: Waiting, *, comment_seconds: float = COMMENT_SECONDS) -> APIRouter:
    """Build the route that streams events; `waiting.end` ends all streams, before the server waits for them."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/events",
        summary="What happens to an execution, as it happens",
        description=DESCRIPTION,
        responses=bytes_of(200, "The events.", media_type=MEDIA_TYPE, example=EXAMPLE)
        | nothing_of(204, "The execution has ended, and the client knows.")
        | errors_of(404, 503),
        openapi_extra={"parameters": [LAST_EVENT_ID]},
    )
    async def events(workflow_name: str, execution_id: str, request: Request) -> Response:
        standing = await standings.of(workflow_name, execution_id)
        is_known = request.headers.get("last-event-id") == _id_of(standing)
        if is_known and standing.execution.status.is_final:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=FRESH)
        # A proxy that gathers what it passes on would keep the events until the end.
        headers = {**FRESH, "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type=MEDIA_TYPE)
        stream = _stream(waiting, workflow_name, standing, is_known=is_known, comment_seconds=comment_seconds)
        return StreamingResponse(stream, headers=headers, media_type=MEDIA_TYPE)

    return router


async def _stream(
    waiting: Waiting, workflow_name: str, standing: Standing, *, is_known: bool, comment_seconds: float
) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    if not is_known:
        yield _written(None, standing)
    spoke = time.monotonic()
    while not (standing.execution.status.is_final or waiting.has_ended):
        before = standing
        try:
            left = spoke + comment_seconds - time.monotonic()
            standing = await waiting.changed(workflow_name, before, max(0.0, left))
        except ServiceUnavailableError:
            # The records may be back at the next look; the client has nothing to gain from connecting again.
            pass
        except UnknownExecutionError:
            # Deleted: who asks again is told so.
            return
        if stands_elsewhere(before, standing):
            yield _written(before, standing)
        elif time.monotonic() - spoke >= comment_seconds:
            yield ": nothing new\n\n"
        else:
            continue
        spoke = time.monotonic()


def _written(before: Standing | None, now: Standing) -> str:
    """Write the events of one change. The last one has the id: who lost any of them is told all of them again."""
    *others, (name, data) = _events(before, now)
    lines = [f"event: {other}\ndata: {_json(told)}\n\n" for other, told in others]
    return "".join([*lines, f"event: {name}\nid: {_id_of(now)}\ndata: {_json(data)}\n\n"])


def _events(before: Standing | None, now: Standing) -> Iterator[tuple[str, Any]]:
    execution = now.execution
    old = {} if before is None else before.execution.progress or {}
    new = execution.progress or {}
    reported = {name: value for name, value in new.items() if name != PUBLICATION}
    is_reported = reported != {name: value for name, value in old.items() if name != PUBLICATION}
    is_uploaded = PUBLICATION in new and new[PUBLICATION] != old.get(PUBLICATION)
    # A status tells all of it; so it does where something else has changed, as that a cancel was asked for.
    if before is None or _state(before) != _state(now) or not (is_reported or is_uploaded):
        yield "status", status_of(now)
    else:
        if is_reported:
            yield "progress", whole_progress(reported)
        if is_uploaded:
            yield "upload", new[PUBLICATION]
    if execution.status.is_final:
        yield "end", Ended(status=execution.status, error_message=execution.error_message)


def _state(standing: Standing) -> tuple[Any, ...]:
    execution = standing.execution
    return execution.status, execution.attempt, standing.position, execution.error_message


def _id_of(standing: Standing) -> str:
    return str(standing.execution.version)


def _json(data: Any) -> str:
    return msgspec.json.encode(data).decode()
