"""Submitting an execution, and asking where it stands."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from wildcast.contract.wire import Submitted
from wildcast_server.api.answers import answer
from wildcast_server.api.routes import readable
from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.registry import Registry
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.submit import Submit


class SubmitBody(BaseModel):
    """What a submission holds."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = Field(default_factory=dict, description="As the workflow's schema has them.")


def execution_routes(workflows: Registry, submit: Submit, lookup: Lookup) -> APIRouter:
    """Build the routes that take executions on and report on them."""
    router = APIRouter(tags=["executions"])

    @router.post("/{workflow_name}", summary="Submit an execution of a workflow")
    def submit_to(workflow_name: str, body: SubmitBody) -> Response:
        return _submitted(submit, workflow_name, body.parameters)

    @router.post("", summary="Submit an execution of the only exposed workflow")
    def submit_to_only(body: SubmitBody) -> Response:
        return _submitted(submit, _only(workflows), body.parameters)

    @readable(router, "/{workflow_name}/{execution_id}/status", summary="Where an execution stands")
    def status(workflow_name: str, execution_id: str) -> Response:
        return answer(lookup.status(workflow_name, execution_id))

    return router


def _submitted(submit: Submit, workflow_name: str, parameters: Mapping[str, Any]) -> Response:
    execution, position = submit(workflow_name, parameters)
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
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "no workflow is exposed here")
    if len(names) > 1:
        raise HTTPException(HTTPStatus.CONFLICT, f"several workflows are exposed: name one of {', '.join(names)}")
    return names[0]
