"""Submitting an execution, and asking where it stands."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from wildcast.contract.wire import StatusAnswer, Submitted
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.examples import PARAMETERS
from wildcast_server.api.routes import INFER, readable, writing
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Threads
from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.registry import Registry
from wildcast_server.usecases.lookup import status_of
from wildcast_server.usecases.submit import Submit

SUBMITTING = """
Checks the parameters, records the execution and queues it; the answer does not wait for anything else. `position` says
how many executions are queued before it.

The parameters are those of the workflow's schema (`GET /v1/infer/workflows/{workflow_name}/schema`).
"""

SUBMITTED = json_of(200, Submitted, "The execution is queued.")

STATUS_DESCRIPTION = """
`status` is `queued`, `running`, `pending_results` (computed, and being published), and at last `completed`, `failed`,
`cancelled` or `expired`. `position` counts from 0 and is null once the execution runs. `progress` is null, or has
`progress`, `current_step` and `total_steps` (each may be null) and what else the workflow reports.

The answer is what the records hold when it is asked for. Ask as often as once a second.
"""


class SubmitBody(BaseModel):
    """What a submission holds."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"parameters": PARAMETERS}]})

    parameters: dict[str, Any] | None = Field(
        default=None, description="As the workflow's schema has them; null is the same as none of them."
    )


def execution_routes(workflows: Registry, submit: Submit, standings: Standings, threads: Threads) -> APIRouter:
    """Build the routes that take executions on and report on them; submissions wait in `threads`."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/status",
        summary="Where an execution stands",
        description=STATUS_DESCRIPTION,
        responses=json_of(200, StatusAnswer, "Where it stands.") | errors_of(404, 503),
    )
    async def status(workflow_name: str, execution_id: str) -> Response:
        return answer(status_of(await standings.of(workflow_name, execution_id)), headers=FRESH)

    @writing(
        router,
        "/{workflow_name}",
        summary="Submit an execution of a workflow",
        description=SUBMITTING,
        responses=SUBMITTED
        | errors_of(404, 413, 422, 429, 503, sentences={404: "there is no workflow 'x'; there is shallow_water"}),
    )
    async def submit_to(workflow_name: str, body: SubmitBody) -> Response:
        return await _submitted(submit, threads, workflow_name, body)

    @writing(
        router,
        "",
        summary="Submit an execution of the only exposed workflow",
        description=SUBMITTING,
        responses=SUBMITTED | errors_of(409, 413, 422, 429, 503),
    )
    async def submit_to_only(body: SubmitBody) -> Response:
        return await _submitted(submit, threads, _only(workflows), body)

    return router


async def _submitted(submit: Submit, threads: Threads, workflow_name: str, body: SubmitBody) -> Response:
    execution, position = await threads.run(submit, workflow_name, body.parameters or {})
    return answer(
        Submitted(
            workflow_name=execution.workflow_name,
            execution_id=execution.id,
            status=execution.status,
            position=position,
            message=f"queued as {execution.id}",
            timestamp=utc_now(),
        )
    )


def _only(workflows: Registry) -> str:
    names = workflows.names()
    if not names:
        sentence = "no workflow is exposed here: its operator names them with WORKFLOW_DIR and workflows.exposed"
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
    if len(names) > 1:
        raise HTTPException(HTTPStatus.CONFLICT, f"several workflows are exposed: name one of {', '.join(names)}")
    return names[0]
