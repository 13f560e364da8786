"""What can be done to an execution: cancel it, try it again, pin it, delete it."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from wildcast.contract.wire import StatusAnswer
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import Responses, errors_of, json_of, nothing_of
from wildcast_server.api.examples import STATUS
from wildcast_server.api.routes import INFER, deleting, writing
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Threads
from wildcast_server.jobs import JobQueue
from wildcast_server.records import UNLIMITED, Limits, Records
from wildcast_server.usecases.cancel import Cancel
from wildcast_server.usecases.delete import Delete
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import Lookup, status_of
from wildcast_server.usecases.pin import Pin
from wildcast_server.usecases.retry import Retry

CANCELLING = """
Ends an execution that has not ended by itself. One that is queued is `cancelled` at once. One that runs, or is being
published, still has its status in the answer, and `metadata.cancel_requested_at`: within seconds its processes are
ended and what it has stored is removed; then it is `cancelled`. Repeating the request changes nothing.
"""

RETRYING = """
Tries an execution again that failed, from the step that failed (`metadata.failed_step`). Where that is publishing, the
workflow does not run again. One that waits or runs is left as it is, so repeating the request changes nothing.
"""

PINNING = """
Keeps the result, however old it becomes, or with `{"pinned": false}` lets it expire when it would have. Without a body
it is kept. Repeating the request changes nothing.
"""

DELETING = """
Deletes an execution that has ended: it is unknown from now on, and what it has published is removed soon after: what
the manifest lists, or, where it ended without one, what it had stored by then. Repeating the request changes nothing.

An execution that has not ended is refused: cancel it first.
"""

REFUSED = {
    "cancel": "execution exec_1769560728_10ed9d3c is completed, and cannot be cancelled any more",
    "retry": "execution exec_1769560728_10ed9d3c is completed, and only one that failed is tried again: "
    "submit the request anew",
    "pin": "the results of exec_1769560728_10ed9d3c have expired: there is nothing to keep",
    "delete": "execution exec_1769560728_10ed9d3c is running: cancel it first, and delete it when it has ended",
}

METADATA: dict[str, Any] = STATUS["metadata"]
CANCELLED = STATUS | {"metadata": METADATA | {"cancel_requested_at": "2026-01-28T00:38:52.402118Z"}}
RETRIED = STATUS | {"status": "pending_results", "progress": None}
PINNED = STATUS | {"status": "completed", "progress": None, "metadata": METADATA | {"pinned": True}}


class PinBody(BaseModel):
    """Whether the result is to be kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"pinned": True}]})

    pinned: bool = Field(default=True, strict=True)


@dataclass(frozen=True, kw_only=True)
class Actions:
    """The use cases."""

    cancel: Cancel
    retry: Retry
    pin: Pin
    delete: Delete

    @classmethod
    def of(
        cls, lookup: Lookup, records: Records, jobs: JobQueue, ending: Ending, limits: Limits = UNLIMITED
    ) -> "Actions":
        """Put them together."""
        return cls(
            cancel=Cancel(lookup, records, jobs, ending),
            retry=Retry(lookup, records, jobs, ending, limits),
            pin=Pin(lookup, records),
            delete=Delete(records, ending),
        )


def action_routes(actions: Actions, standings: Standings, threads: Threads) -> APIRouter:
    """Build the routes that act on executions; what they do waits in `threads`."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    async def acted(workflow_name: str, execution_id: str, act: Callable[..., object], **options: object) -> Response:
        await threads.run(lambda: act(workflow_name, execution_id, **options))
        return answer(status_of(await standings.of(workflow_name, execution_id)), headers=FRESH)

    @writing(
        router,
        "/{workflow_name}/{execution_id}/cancel",
        summary="Cancel an execution",
        description=CANCELLING,
        responses=_answers("cancel", "It is cancelled, or will be.", CANCELLED),
    )
    async def cancel(workflow_name: str, execution_id: str) -> Response:
        return await acted(workflow_name, execution_id, actions.cancel)

    @writing(
        router,
        "/{workflow_name}/{execution_id}/retry",
        summary="Try a failed execution again",
        description=RETRYING,
        responses=_answers("retry", "It is queued, or being published, again.", RETRIED, 429),
    )
    async def retry(workflow_name: str, execution_id: str) -> Response:
        return await acted(workflow_name, execution_id, actions.retry)

    @writing(
        router,
        "/{workflow_name}/{execution_id}/pin",
        summary="Keep a result from expiring",
        description=PINNING,
        responses=_answers("pin", "It is pinned, or not any more.", PINNED, 413, 422),
    )
    async def pin(workflow_name: str, execution_id: str, body: Annotated[PinBody | None, Body()] = None) -> Response:
        return await acted(workflow_name, execution_id, actions.pin, pinned=body is None or body.pinned)

    @deleting(
        router,
        "/{workflow_name}/{execution_id}",
        summary="Delete an execution and its result",
        description=DELETING,
        status_code=HTTPStatus.NO_CONTENT,
        responses=nothing_of(204, "It is deleted.") | errors_of(404, 409, 503, sentences={409: REFUSED["delete"]}),
    )
    async def delete(workflow_name: str, execution_id: str) -> Response:
        await threads.run(actions.delete, workflow_name, execution_id)
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=FRESH)

    return router


def _answers(action: str, description: str, example: object, *further: int) -> Responses:
    refused = {409: REFUSED[action]}
    return json_of(200, StatusAnswer, description, example=example) | errors_of(
        404, 409, *further, 503, sentences=refused
    )
