"""Whether the service works."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import Response

from wildcast_server.api.answers import answer
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import WildcastServerError
from wildcast_server.records import Records


def health_routes(records: Records) -> APIRouter:
    """Build the routes that load balancers and people ask."""
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="Whether the service can take and answer requests")
    def health() -> Response:
        try:
            records.check()
        except WildcastServerError as error:
            body = {"status": "unhealthy", "timestamp": utc_now(), "reason": str(error)}
            return answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return answer({"status": "healthy", "timestamp": utc_now()})

    @router.get("/liveness", summary="Whether the process answers at all")
    def liveness() -> Response:
        return answer({"status": "alive"})

    return router
