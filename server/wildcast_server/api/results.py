"""Handing out the metadata of results."""

from fastapi import APIRouter
from starlette.responses import Response

from wildcast_server.api.answers import answer
from wildcast_server.api.routes import readable
from wildcast_server.usecases.results import Results


def result_routes(results: Results) -> APIRouter:
    """Build the route that describes a result."""
    router = APIRouter(tags=["results"])

    @readable(
        router, "/{workflow_name}/{execution_id}/results", summary="The metadata of a result, with a fresh signed URL"
    )
    def metadata(workflow_name: str, execution_id: str) -> Response:
        return answer(results.metadata(workflow_name, execution_id))

    return router
