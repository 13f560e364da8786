"""Saying to the runner's process where a run's streamed output goes."""

from pathlib import Path
from typing import Any

from wildcast_server.jobs import SinkSpec
from wildcast_server.settings import Settings
from wildcast_server.transfer.streaming import plain_options
from wildcast_server.wiring.publishing import store_options, streaming_requests

FACTORY = "wildcast_server.transfer.streaming:open_sink"


def streaming_sink(settings: Settings, prefix: str, streamed: Path) -> SinkSpec | None:
    """Describe the sink of one attempt.

    Parameters
    ----------
    settings
        The whole tree.
    prefix
        Of the publication, as `Publishing.prefix` has it.
    streamed
        The ledger in which to record what was streamed, as `Publishing.streamed` has it.

    Returns
    -------
    None if the store lives in this process alone (``memory://``), or no request is left for it: output then goes to
    the output directory.
    """
    storage = settings.object_storage
    slots = streaming_requests(storage)
    if settings.store_uri.startswith("memory://") or slots == 0:
        return None
    arguments: dict[str, Any] = {
        "store": settings.store_uri,
        "options": plain_options(store_options(storage)),
        "prefix": prefix,
        "ledger": str(streamed.resolve()),
        "part_size": storage.multipart_chunksize,
    }
    if slots is not None:
        arguments["slots"] = slots
    return SinkSpec(factory=FACTORY, arguments=arguments)
