"""Telling what an execution's webhook was told."""

from fastapi import APIRouter
from starlette.responses import Response

from wildcast.contract.wire import Deliveries
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.threads import Threads
from wildcast_server.usecases.lookup import Lookup

DESCRIPTION = """
Lists the events that the execution's webhook was to be told: how often each was tried, what the last answer was, and
when it is tried again. An execution without a webhook, or one that has not ended, has none.
"""


def delivery_routes(lookup: Lookup, threads: Threads) -> APIRouter:
    """Build the route that tells of deliveries; what it asks waits in `threads`."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/deliveries",
        summary="What the webhook was told",
        description=DESCRIPTION,
        responses=json_of(200, Deliveries, "The deliveries, the oldest first.") | errors_of(404, 503),
    )
    async def deliveries(workflow_name: str, execution_id: str) -> Response:
        return answer(await threads.run(lookup.deliveries, workflow_name, execution_id), headers=FRESH)

    return router
