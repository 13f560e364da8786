"""Whether the service works."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import Response

from wildcast_server.api.answers import answer
from wildcast_server.api.routes import readable
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import WildcastServerError
from wildcast_server.records import Records


def health_routes(records: Records) -> APIRouter:
    """Build the routes that load balancers and people ask."""
    router = APIRouter(tags=["health"])

    @readable(router, "/health", summary="Whether the service can take and answer requests")
    def health() -> Response:
        try:
            records.check()
        except WildcastServerError as error:
            # The members that every error body has, beside those of a healthy answer.
            reason = {"error": str(error), "details": None, "detail": str(error)}
            body = {"status": "unhealthy", "timestamp": utc_now(), **reason}
            return answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return answer({"status": "healthy", "timestamp": utc_now()})

    @readable(router, "/liveness", summary="Whether the process answers at all")
    def liveness() -> Response:
        return answer({"status": "alive"})

    return router
