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

JOBS_KEPT = timedelta(hours=1)
"""After its end, for whoever looks for what happened."""


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Forget jobs an hour after their end, and expired or deleted executions some time after theirs.

    Parameters
    ----------
    keep_records_seconds
        How long after its end an execution is remembered.
    """

    records: Records
    jobs: JobQueue
    keep_records_seconds: int
    clock: Callable[[], datetime] = utc_now

    def __call__(self) -> int:
        """Forget all that is old enough; return how many jobs and executions there were."""
        jobs, executions = self._jobs(), self._executions()
        if jobs or executions:
            logger.info("%d jobs and %d executions are forgotten", jobs, executions)
        return jobs + executions

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
