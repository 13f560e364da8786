"""Submitting executions."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from wildcast.contract.wire import Submitted
from wildcast_server.api.answers import answer
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.examples import PARAMETERS
from wildcast_server.api.routes import INFER, writing
from wildcast_server.api.threads import Threads, Together
from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.registry import Registry
from wildcast_server.records import Accepted, Submission
from wildcast_server.usecases.submit import Request, Submit

SUBMITTING = """
Checks the parameters, records the execution and queues it; the answer does not wait for anything else. `position` says
how many executions are queued before it.

The parameters are those of the workflow's schema (`GET /v1/infer/workflows/{workflow_name}/schema`). `labels` are what
lists can be narrowed by. `retention_seconds` is for how long after its end the result is kept, and `webhook` the URL
that is told, by a signed POST, how it ended.

With an `Idempotency-Key`, a request that is repeated is answered with the execution that it became the first time, as
it is now; so a client that got no answer can ask again. Another request with the same key is refused (409).
"""

SUBMITTED = json_of(200, Submitted, "The execution is queued.")

USED_BEFORE = "another request came with the Idempotency-Key 'forecast-17' before"

MAX_LABELS = 32
MAX_RETENTION = 100 * 366 * 86_400
"""In seconds; a century, so that no date overflows."""

NAME = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"
"""Of a label: without the `=` that lists put behind it."""

VALUE = r"^[^\x00-\x1f\x7f]{0,255}$"
"""Of a label: any text but control characters."""

LabelName = Annotated[str, StringConstraints(pattern=NAME)]
LabelValue = Annotated[str, StringConstraints(pattern=VALUE)]

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of up to 255 printable ASCII characters that no other request has, a UUID say.",
        examples=["forecast-17"],
    ),
]


class SubmitBody(BaseModel):
    """What a submission holds."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"parameters": PARAMETERS},
                {
                    "parameters": PARAMETERS,
                    "labels": {"project": "storms"},
                    "retention_seconds": 604_800,
                    "webhook": "https://example.org/hooks/wildcast",
                },
            ]
        },
    )

    parameters: dict[str, Any] | None = Field(
        default=None, description="As the workflow's schema has them; null is the same as none of them."
    )
    labels: dict[LabelName, LabelValue] | None = Field(
        default=None,
        max_length=MAX_LABELS,
        description="By name: what lists can be narrowed by. A name has up to 63 letters, digits and `._/-`.",
    )
    retention_seconds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_RETENTION,
        strict=True,
        description="How long after its end the result is kept; null is the server's default.",
    )
    webhook: str | None = Field(
        default=None, min_length=1, max_length=2048, description="A URL of https or http that is told how it ended."
    )


class Submissions:
    """Submits what clients send.

    Each request is checked on its own, since that runs the workflow's code; those that are checked at about the same
    time are recorded in one transaction, which costs a database little more than one of them.
    """

    def __init__(self, submit: Submit, checking: Threads, recording: Threads) -> None:
        self._submit = submit
        self._checking = checking
        self._record: Together[Submission, Accepted] = Together(submit.record, recording)

    async def submit(self, request: Request) -> Accepted:
        """Submit one; raises as `Submit` does."""
        prepared = await self._checking.run(self._submit.prepare, request)
        return await self._record(prepared)


def execution_routes(workflows: Registry, submissions: Submissions) -> APIRouter:
    """Build the routes that take executions on."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    @writing(
        router,
        "/{workflow_name}",
        summary="Submit an execution of a workflow",
        description=SUBMITTING,
        responses=SUBMITTED
        | errors_of(
            404,
            409,
            413,
            422,
            429,
            503,
            sentences={404: "there is no workflow 'x'; there is shallow_water", 409: USED_BEFORE},
        ),
    )
    async def submit_to(workflow_name: str, body: SubmitBody, key: Key = None) -> Response:
        return await _submitted(submissions, workflow_name, body, key)

    @writing(
        router,
        "",
        summary="Submit an execution of the only exposed workflow",
        description=SUBMITTING,
        responses=SUBMITTED | errors_of(409, 413, 422, 429, 503),
    )
    async def submit_to_only(body: SubmitBody, key: Key = None) -> Response:
        return await _submitted(submissions, _only(workflows), body, key)

    return router


async def _submitted(submissions: Submissions, workflow_name: str, body: SubmitBody, key: str | None) -> Response:
    request = Request(
        workflow_name=workflow_name,
        parameters=body.parameters or {},
        labels=body.labels or {},
        retention_seconds=body.retention_seconds,
        webhook=body.webhook,
        key=key,
    )
    execution, position, is_new = await submissions.submit(request)
    return answer(
        Submitted(
            workflow_name=execution.workflow_name,
            execution_id=execution.id,
            status=execution.status,
            position=position,
            message=f"queued as {execution.id}" if is_new else f"submitted before, as {execution.id}",
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
