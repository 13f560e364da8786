"""The API as an ASGI app: its factory, and the use cases that the routes call."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from wildcast._version import __version__
from wildcast_server.api import errors
from wildcast_server.api.actions import Actions, action_routes
from wildcast_server.api.archives import archive_routes
from wildcast_server.api.deliveries import delivery_routes
from wildcast_server.api.events import event_routes
from wildcast_server.api.executions import Submissions, execution_routes
from wildcast_server.api.files import file_routes
from wildcast_server.api.health import health_routes
from wildcast_server.api.listings import listing_routes
from wildcast_server.api.manifest import manifest_routes
from wildcast_server.api.observing import CountAnswers, TrailingSlash
from wildcast_server.api.pages import page_routes
from wildcast_server.api.readiness import Check, Readiness
from wildcast_server.api.results import Descriptions, result_routes
from wildcast_server.api.routes import INFER
from wildcast_server.api.signing import signing_routes
from wildcast_server.api.standings import Standings
from wildcast_server.api.status import status_routes
from wildcast_server.api.threads import Threads
from wildcast_server.api.waiting import Waiting
from wildcast_server.api.workflows import workflow_routes
from wildcast_server.domain.registry import Registry
from wildcast_server.http.limits import BodyLimit
from wildcast_server.metrics import Metrics
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.partials import Partials
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit

DESCRIPTION = """
Submit an execution of a workflow, ask where it stands, and read its result through one signed URL.

1. `GET /v1/infer/workflows` says what there is, and `…/workflows/{workflow_name}/schema` what it takes.
2. `POST /v1/infer/{workflow_name}` queues an execution and answers with its `execution_id`.
3. `GET …/{execution_id}/status` says where it stands, with `?wait=60` when that changes, and `…/events` as it happens;
   `GET …/{execution_id}/results` answers 202 until the result is there.
4. Then that has a `signed_url`: with a file's path in the place of its `*`, any HTTP client reads it from the CDN.

An error has `error` (one sentence), `details` and `detail` at the top level of its body, whatever its status. Where a
later try may do better, `Retry-After` says when.
"""

NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""The framework's own: it would look for its settings at every request, and record URLs, which may hold signatures.

Versions of the framework that have none take this for an option of the application, and leave it alone.
"""

CLOSE_SECONDS = 2.0
"""How long the end waits for what threads are doing; what takes longer ends with the process."""


@dataclass(frozen=True, kw_only=True)
class UseCases:
    """What the API offers over HTTP."""

    workflows: Registry
    submit: Submit
    lookup: Lookup
    results: Results
    listing: ListExecutions
    actions: Actions
    sign: Sign
    partials: Partials | None = None
    """What shows results before the end; None where nothing does."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """By name, what must be usable for anything to work: the records and the job engine."""
    further_checks: Mapping[str, Check] = field(default_factory=dict)
    """What must be usable besides, for requests to be sent here: the store."""
    metrics: Metrics = field(default_factory=Metrics)


def create_api(use_cases: UseCases, *, max_body_bytes: int, public_url: str | None = None) -> FastAPI:
    """Build the app; it holds no state of its own but threads, which end with it.

    Parameters
    ----------
    use_cases
        What the routes call.
    max_body_bytes
        A longer request body is answered 413.
    public_url
        Where the documentation sends its requests, if clients reach the API under another URL than its own.
    """
    pools = _Pools(len(use_cases.checks) + len(use_cases.further_checks))
    app = FastAPI(
        title="wildcast",
        version=__version__,
        summary="Run workflows; read what they published through wildcard signed URLs.",
        description=DESCRIPTION,
        servers=None if public_url is None else [{"url": public_url}],
        lifespan=pools.lifespan,
        # Served by routes of our own; a path with a slash at its end is taken as it is meant.
        openapi_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(CountAnswers, metrics=use_cases.metrics)
    app.add_middleware(TrailingSlash)
    _add_routes(app, use_cases, pools)
    return app


class _Pools:
    """The threads of one app, by what they wait for."""

    def __init__(self, checks: int) -> None:
        self.lookups = Threads("lookup", 1)
        # Those that run a workflow's checks; what is recorded after them is recorded together.
        self.submits = Threads("submit", 4)
        # Few: the records have a bounded number of connections, and one writer.
        self.recording = Threads("record", 1)
        self.acting = Threads("act", 2)
        self.listing = Threads("list", 2)
        self.signing = Threads("describe", 1)
        self.reading = Threads("read-manifest", 8)
        self.granting = Threads("sign", 4)
        # For `/health` and `/readiness`, each of which has a question under way for every part at most.
        self.checks = Threads("check", 2 * checks)
        self.counting = Threads("count", 2)
        self.pages = Threads("page", 1)

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Close them at the end."""
        yield
        deadline = time.monotonic() + CLOSE_SECONDS
        for threads in vars(self).values():
            threads.close(deadline)


def _add_routes(app: FastAPI, use_cases: UseCases, pools: _Pools) -> None:
    standings = Standings(use_cases.lookup, pools.lookups)
    waiting = Waiting(standings)
    app.state.before_shutdown = waiting.end
    submissions = Submissions(use_cases.submit, pools.submits, pools.recording)
    descriptions = Descriptions(use_cases.results, pools.signing, pools.reading, use_cases.partials)
    health = Readiness(use_cases.checks, pools.checks, keep=0)
    readiness = Readiness({**use_cases.checks, **use_cases.further_checks}, pools.checks)
    # In this order they are tried: the ones that are asked most come first, and `workflows` is a reserved name.
    for router in (
        status_routes(standings, waiting),
        result_routes(standings, descriptions),
        workflow_routes(use_cases.workflows),
        execution_routes(use_cases.workflows, submissions),
        event_routes(standings, waiting),
        listing_routes(use_cases.listing, pools.listing),
        action_routes(use_cases.actions, standings, pools.acting),
        delivery_routes(use_cases.lookup, pools.acting),
        manifest_routes(use_cases.results, pools.reading),
        signing_routes(use_cases.sign, pools.granting),
        health_routes(health, readiness, use_cases.metrics, pools.counting),
        page_routes(app.title, app.openapi, pools.pages),
    ):
        # Their paths are whole: as routes of the app itself they are matched once and not twice.
        app.router.routes.extend(router.routes)
    # Before the files: `<workflow>:<execution>` is a legal name of one.
    app.include_router(archive_routes(use_cases.results), prefix=INFER)
    app.include_router(file_routes(use_cases.results), prefix=INFER)
