"""The edge of our own with a delay added to every answer, and a count of requests.

    python delayed_edge.py DATA_DIRECTORY --port PORT [--delay-ms 20]

It is `wildcast-server edge` with its application wrapped: signatures are checked as ever. ``/_control/stats`` answers
how many requests there were; it is not a key.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import uvicorn

from wildcast_server.settings import load_settings
from wildcast_server.wiring.edge import build_edge
from wildcast_server.wiring.publishing import build_key_pair, build_store


class Delayed:
    """Waits before it passes a request on, and counts it.

    Parameters
    ----------
    edge
        The application.
    seconds
        How long.
    """

    def __init__(self, edge: Any, seconds: float) -> None:
        self._edge = edge
        self._seconds = seconds
        self._requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self._edge(scope, receive, send)
        elif scope["path"] == "/_control/stats":
            body = json.dumps({"requests": self._requests}).encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/json")]})
            await send({"type": "http.response.body", "body": body})
        else:
            self._requests += 1
            await asyncio.sleep(self._seconds)
            await self._edge(scope, receive, send)


def main() -> None:
    """Serve until it is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    settings = load_settings(
        {"object_storage.enabled": True, "data_dir": arguments.data_directory, "edge.port": arguments.port}
    ).settings
    edge = build_edge(settings, build_store(settings), build_key_pair(settings), settings.edge.url)
    uvicorn.run(
        Delayed(edge, arguments.delay_ms / 1000),
        host="127.0.0.1",
        port=arguments.port,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="error",
    )


if __name__ == "__main__":
    main()
