"""Whether the service works, and how much it does."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import Response

from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import Responses, bytes_of, json_of
from wildcast_server.api.errors import RETRY_AFTER
from wildcast_server.api.examples import HEALTHY, METRICS, UNHEALTHY
from wildcast_server.api.readiness import Readiness
from wildcast_server.api.routes import readable
from wildcast_server.api.threads import Threads
from wildcast_server.domain.execution import utc_now
from wildcast_server.http.compression import CompressibleResponse
from wildcast_server.metrics import CONTENT_TYPE, Metrics

STATE = {
    "type": "object",
    "required": ["status", "timestamp"],
    "properties": {
        "status": {"type": "string", "enum": ["healthy", "unhealthy"]},
        "timestamp": {"type": "string", "format": "date-time"},
        "error": {"type": "string", "description": "What cannot be used, in one sentence."},
        "details": {"type": "null"},
        "detail": {"type": "string", "description": "The same as `error`."},
    },
}

ALIVE = {"type": "object", "required": ["status"], "properties": {"status": {"const": "alive"}}}


def _states(well: str, unwell: str) -> Responses:
    retry = {"Retry-After": "In how many seconds to ask again."}
    return json_of(200, STATE, well, example=HEALTHY) | json_of(503, STATE, unwell, example=UNHEALTHY, headers=retry)


def health_routes(health: Readiness, readiness: Readiness, metrics: Metrics, threads: Threads) -> APIRouter:
    """Build the routes that load balancers, scrapers and people ask; metrics are counted in `threads`."""
    router = APIRouter(tags=["health"])

    @readable(
        router,
        "/health",
        summary="Whether the service works",
        description="Asks the records and the job engine: without them nothing can be submitted or looked up.",
        responses=_states("They work.", "One of them does not; `error` says which."),
    )
    async def healthy() -> Response:
        return _state(await health.problem())

    @readable(
        router,
        "/readiness",
        summary="Whether to send requests here",
        description="Asks the records, the job engine and, where results lie in object storage, the store. "
        "A verdict holds for three seconds.",
        responses=_states("All can be used.", "One of them cannot be used now; `error` says which."),
    )
    async def ready() -> Response:
        return _state(await readiness.problem())

    @readable(
        router,
        "/liveness",
        summary="Whether the process answers at all",
        description="Asks nothing else, and never waits: where this does not answer, restart the process.",
        responses=json_of(200, ALIVE, "It does.", example={"status": "alive"}),
    )
    async def alive() -> Response:
        return answer({"status": "alive"}, headers=FRESH)

    @readable(
        router,
        "/metrics",
        summary="Counters and gauges for Prometheus",
        description="Requests by route, method and status; executions by workflow; the queue; what was published; the "
        "process. The numbers are those of this process since its start, but the queue's.",
        responses=bytes_of(200, "Prometheus' text format.", media_type=CONTENT_TYPE, example=METRICS),
    )
    async def count() -> Response:
        return CompressibleResponse(await threads.run(metrics.text), HTTPStatus.OK, FRESH, media_type=CONTENT_TYPE)

    return router


def _state(problem: str | None) -> Response:
    if problem is None:
        return answer({"status": "healthy", "timestamp": utc_now()}, headers=FRESH)
    # The members that every error body has, beside those of a healthy answer.
    body = {"status": "unhealthy", "timestamp": utc_now(), "error": problem, "details": None, "detail": problem}
    return answer(body, HTTPStatus.SERVICE_UNAVAILABLE, {**FRESH, **RETRY_AFTER})
