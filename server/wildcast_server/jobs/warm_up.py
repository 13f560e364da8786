"""Following a runner's process from its start until it is ready, which is when its warm workflows are constructed."""

import logging

from wildcast_server.errors import RunnerDiedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.process import RunnerProcess

logger = logging.getLogger("wildcast_server.workflow")


def follow_warm_up(process: RunnerProcess) -> str | None:
    """Wait until the process is ready, or has ended; log what becomes of each workflow.

    Returns
    -------
    None if it is ready, else the workflow whose construction it did not survive.

    Raises
    ------
    RunnerDiedError
        If it ended without constructing anything.
    """
    current: str | None = None
    for message in process.messages:
        match message:
            case protocol.Warming():
                current = message.workflow
                logger.info("constructing the workflow %r ahead of its first execution", current)
            case protocol.Warmed(error=None):
                logger.info("the workflow %r is warm", message.workflow)
            case protocol.Warmed():
                logger.error("%s", "\n".join(filter(None, [f"not warm: {message.error}", message.traceback])))
            case protocol.Ready():
                process.is_ready = True
                return None
    if current is None:
        raise RunnerDiedError(f"the process that runs workflows {process.describe_death()}")
    return current
