"""The API as an ASGI app: its factory, and the use cases that the routes call."""

from dataclasses import dataclass

from fastapi import FastAPI

from wildcast._version import __version__
from wildcast_server.api import errors
from wildcast_server.api.executions import execution_routes
from wildcast_server.api.files import file_routes
from wildcast_server.api.health import health_routes
from wildcast_server.api.results import result_routes
from wildcast_server.api.workflows import workflow_routes
from wildcast_server.domain.registry import Registry
from wildcast_server.http.limits import BodyLimit
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.submit import Submit


@dataclass(frozen=True)
class UseCases:
    """What the API offers over HTTP."""

    workflows: Registry
    submit: Submit
    lookup: Lookup
    results: Results


def create_api(use_cases: UseCases, *, max_body_bytes: int, public_url: str | None = None) -> FastAPI:
    """Build the app; it holds no state of its own.

    Parameters
    ----------
    use_cases
        What the routes call.
    max_body_bytes
        A longer request body is answered 413.
    public_url
        Where the documentation sends its requests, if clients reach the API under another URL than its own.
    """
    app = FastAPI(
        title="wildcast",
        version=__version__,
        summary="Run workflows; read what they published through wildcard signed URLs.",
        responses=errors.DOCUMENTED,
        servers=None if public_url is None else [{"url": public_url}],
    )
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.include_router(health_routes(use_cases.lookup.records))
    # Before the executions: `workflows` is a reserved name.
    app.include_router(workflow_routes(use_cases.workflows), prefix="/v1/infer")
    app.include_router(execution_routes(use_cases.workflows, use_cases.submit, use_cases.lookup), prefix="/v1/infer")
    app.include_router(result_routes(use_cases.results), prefix="/v1/infer")
    app.include_router(file_routes(use_cases.results), prefix="/v1/infer")
    return app
