"""Which workflows there are, and what they take."""

import functools
from typing import Any

from fastapi import APIRouter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import CoreSchema
from starlette.responses import Response

from wildcast_server.api.answers import answer
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.examples import SCHEMA, WORKFLOWS
from wildcast_server.api.routes import INFER, readable
from wildcast_server.domain.registry import Registry

LIST = {
    "type": "object",
    "required": ["workflows"],
    "properties": {
        "workflows": {
            "type": "object",
            "description": "By name: what the workflow does.",
            "additionalProperties": {"type": "string"},
        }
    },
}


class _Lenient(GenerateJsonSchema):
    """Shows a parameter that JSON has no form for, a callable say, as one that may be anything."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - the base's declaration

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's signature
        """Describe what cannot be described."""
        return {}


def workflow_routes(workflows: Registry) -> APIRouter:
    """Build the routes that describe workflows."""
    router = APIRouter(prefix=INFER, tags=["workflows"])

    @functools.cache
    def schema_of(workflow_name: str) -> dict[str, Any]:
        return workflows.get(workflow_name).Parameters.model_json_schema(schema_generator=_Lenient)

    @readable(
        router,
        "/workflows",
        summary="The exposed workflows with their descriptions",
        description="Lists what can be submitted here.",
        responses=json_of(200, LIST, "The workflows.", example=WORKFLOWS),
    )
    async def list_workflows() -> Response:
        return answer({"workflows": {name: workflows.get(name).description for name in workflows.names()}})

    @readable(
        router,
        "/workflows/{workflow_name}/schema",
        summary="The JSON schema of a workflow's parameters",
        description="Says what `parameters` of a submission may hold: names, types, defaults, bounds.",
        responses=json_of(200, {"type": "object"}, "A JSON schema (2020-12).", example=SCHEMA)
        | errors_of(404, sentences={404: "there is no workflow 'x'; there is shallow_water"}),
    )
    async def schema(workflow_name: str) -> Response:
        return answer(schema_of(workflow_name))

    return router
