"""Following a runner's process from its start until it is ready, which is when its warm workflows are constructed."""

import logging
from dataclasses import dataclass

from wildcast_server.errors import RunnerDiedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.loading import LOADING_SETTING, LoadingLimit
from wildcast_server.jobs.process import RunnerProcess

logger = logging.getLogger("wildcast_server.workflow")


@dataclass(frozen=True)
class Fatal:
    """A workflow whose construction a process did not survive."""

    workflow: str
    how: str
    """What became of the process."""


def follow_warm_up(process: RunnerProcess, seconds: float | None = None) -> Fatal | None:
    """Wait until the process is ready, or has ended; log what becomes of each workflow.

    Parameters
    ----------
    seconds
        How long each workflow may take; None for any time.

    Returns
    -------
    None if it is ready, else the workflow whose construction it did not survive.

    Raises
    ------
    RunnerDiedError
        If it ended without constructing anything.
    """
    current: str | None = None
    with LoadingLimit(process, seconds, LOADING_SETTING) as limit:
        for message in process.messages:
            match message:
                case protocol.Warming():
                    limit.begin()
                    current = message.workflow
                    logger.info("constructing the workflow %r ahead of its first execution", current)
                case protocol.Warmed(error=None):
                    logger.info("the workflow %r is warm", message.workflow)
                case protocol.Warmed():
                    logger.error("%s", "\n".join(filter(None, [f"not warm: {message.error}", message.traceback])))
                case protocol.Ready():
                    process.is_ready = True
                    return None
    how = limit.describe()
    if current is None:
        raise RunnerDiedError(f"the process that runs workflows {how}")
    return Fatal(current, how)
