"""Workers in memory."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from dataclasses import replace
from datetime import timedelta

from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.records.memory_state import MemoryState


class MemoryWorkers(MemoryState):
    """Registers workers and hears of them."""

    def register(self, worker: WorkerRow) -> None:
        with self._write() as tables:
            tables.workers[worker.id] = replace(worker, heartbeat_at=utc_now())

    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        with self._write() as tables:
            worker = tables.workers.get(worker_id)
            if worker is None or worker.token != token or worker.state is WorkerState.LOST:
                return False
            tables.workers[worker_id] = replace(worker, state=state, heartbeat_at=utc_now())
            return True

    def leave(self, worker_id: str, token: str) -> None:
        with self._write() as tables:
            if worker_id in tables.workers and tables.workers[worker_id].token == token:
                del tables.workers[worker_id]

    def workers(self) -> list[WorkerRow]:
        with self._read() as tables:
            return [tables.workers[key] for key in sorted(tables.workers)]

    def overdue(self, seconds: float) -> list[str]:
        return [worker.id for worker in self.workers() if _is_overdue(worker, seconds)]

    def declare_lost(self, worker_id: str, seconds: float) -> bool:
        with self._write() as tables:
            worker = tables.workers.get(worker_id)
            if worker is None or not _is_overdue(worker, seconds):
                return False
            tables.workers[worker_id] = replace(worker, state=WorkerState.LOST)
            return True

    def forget_worker(self, worker_id: str) -> None:
        with self._write() as tables:
            if worker_id in tables.workers and tables.workers[worker_id].state is WorkerState.LOST:
                del tables.workers[worker_id]


def _is_overdue(worker: WorkerRow, seconds: float) -> bool:
    return worker.state is WorkerState.LOST or worker.heartbeat_at < utc_now() - timedelta(seconds=seconds)
