"""Letting results expire whose time has come, in whichever way their executions ended."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.records import Effects, Records
from wildcast_server.usecases.ending import Ending

logger = logging.getLogger(__name__)

BATCH = 100
"""How many expire in one transaction."""


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Make executions `expired`; what they have left is removed by `Remove` soon after.

    Parameters
    ----------
    ending
        Says what an execution has left.
    """

    records: Records
    ending: Ending
    clock: Callable[[], datetime] = utc_now

    def __call__(self) -> int:
        """Do so with all whose time has come; return how many there were."""
        expired = 0
        while True:
            batch = self.records.expire(self.clock(), limit=BATCH, effects=self._effects)
            for execution in batch:
                logger.info("%s has expired", execution.id)
            expired += len(batch)
            if len(batch) < BATCH:
                return expired

    def _effects(self, execution: Execution) -> Effects:
        return Effects(removals=self.ending.removals(execution, "expired"))
