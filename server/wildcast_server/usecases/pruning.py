"""Forgetting what nobody asks for any more: jobs that are done, and executions whose results are gone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from wildcast_server.domain.execution import utc_now
from wildcast_server.jobs import JobQueue
from wildcast_server.records import Records

logger = logging.getLogger(__name__)

BATCH = 500
"""How many are forgotten in one transaction, so that no other one waits for long."""

ABSENT = timedelta(days=1)
"""How long a directory may be due for removal and no worker of its machine comes for it; one that lives comes within
seconds. A machine that comes back sweeps what is left on it."""

JOBS_KEPT = timedelta(hours=1)
"""After its end, for whoever looks for what happened."""


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Forget jobs an hour after their end, and expired or deleted executions some time after theirs.

    What only a machine could remove that is gone holds nothing up.

    Parameters
    ----------
    keep_records_seconds
        How long after its end an execution is remembered.
    site
        The disk of this machine.
    """

    records: Records
    jobs: JobQueue
    keep_records_seconds: int
    site: str = ""
    clock: Callable[[], datetime] = utc_now

    def __call__(self) -> int:
        """Forget all that is old enough; return how many jobs and executions there were."""
        self._give_up()
        jobs, executions = self._jobs(), self._executions()
        if jobs or executions:
            logger.info("%d jobs and %d executions are forgotten", jobs, executions)
        return jobs + executions

    def _give_up(self) -> None:
        why = "no worker of its machine has come for it"
        if given_up := self.records.give_up_removals(self.clock() - ABSENT, why, site=self.site):
            logger.warning("%d directories are left on machines that are gone", given_up)

    def _jobs(self) -> int:
        forgotten = 0
        while ids := self.jobs.ended(self.clock() - JOBS_KEPT, limit=BATCH):
            self.jobs.forget(ids)
            forgotten += len(ids)
            if len(ids) < BATCH:
                break
        return forgotten

    def _executions(self) -> int:
        forgotten = 0
        while executions := self.records.prunable(self.oldest_kept, limit=BATCH):
            forgotten += self.records.prune([execution.id for execution in executions])
            if len(executions) < BATCH:
                break
        return forgotten

    @property
    def oldest_kept(self) -> datetime:
        """When an execution ended that is just still remembered."""
        return self.clock() - timedelta(seconds=self.keep_records_seconds)
