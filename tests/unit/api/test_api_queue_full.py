"""A queue that is full, as HTTP tells it."""

import httpx
import pytest
from fastapi import FastAPI

from wildcast_server.api.errors import install
from wildcast_server.errors import QueueFullError


@pytest.mark.anyio
async def test_a_full_queue_is_429_with_the_time_to_wait():
    """The body is an error's, and the header is in whole seconds."""
    app = FastAPI()
    install(app)

    @app.post("/full")
    async def full() -> None:
        raise QueueFullError("5 executions are waiting", 17)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        answer = await client.post("/full")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "17")
    assert answer.json()["error"] == answer.json()["detail"] == "5 executions are waiting"
