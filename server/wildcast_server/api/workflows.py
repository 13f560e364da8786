"""Which workflows there are, and what they take."""

from fastapi import APIRouter
from starlette.responses import Response

from wildcast_server.api.answers import answer
from wildcast_server.api.routes import readable
from wildcast_server.domain.registry import Registry


def workflow_routes(workflows: Registry) -> APIRouter:
    """Build the routes that describe workflows."""
    router = APIRouter(tags=["workflows"])

    @readable(router, "/workflows", summary="The exposed workflows with their descriptions")
    def list_workflows() -> Response:
        return answer({"workflows": {name: workflows.get(name).description for name in workflows.names()}})

    @readable(router, "/workflows/{workflow_name}/schema", summary="The JSON schema of a workflow's parameters")
    def schema(workflow_name: str) -> Response:
        return answer(workflows.get(workflow_name).Parameters.model_json_schema())

    return router
