"""Workers in memory."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from dataclasses import replace
from datetime import timedelta

from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.records.memory_state import MemoryState

_OVER = frozenset({WorkerState.LOST, WorkerState.LEFT})


class MemoryWorkers(MemoryState):
    """Registers workers and hears of them."""

    def register(self, worker: WorkerRow) -> None:
        with self._write() as tables:
            tables.workers[worker.id] = replace(worker, heartbeat_at=utc_now())

    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        with self._write() as tables:
            worker = tables.workers.get(worker_id)
            if worker is None or worker.token != token or worker.state in _OVER:
                return False
            tables.workers[worker_id] = replace(worker, state=state, heartbeat_at=utc_now())
            return True

    def leave(self, worker_id: str, token: str) -> None:
        with self._write() as tables:
            worker = tables.workers.get(worker_id)
            if worker is not None and worker.token == token:
                tables.workers[worker_id] = replace(worker, state=WorkerState.LEFT)

    def workers(self) -> list[WorkerRow]:
        return [worker for worker in self._all() if worker.state is not WorkerState.LEFT]

    def overdue(self, seconds: float) -> list[str]:
        return [worker.id for worker in self._all() if _is_overdue(worker, seconds)]

    def declare_lost(self, worker_id: str, seconds: float) -> bool:
        with self._write() as tables:
            worker = tables.workers.get(worker_id)
            if worker is None or not _is_overdue(worker, seconds):
                return False
            if worker.state is not WorkerState.LEFT:
                tables.workers[worker_id] = replace(worker, state=WorkerState.LOST)
            return True

    def forget_workers(self, seconds: float) -> None:
        with self._write() as tables:
            for worker in list(tables.workers.values()):
                if worker.state in _OVER and _is_silent(worker, seconds):
                    del tables.workers[worker.id]

    def _all(self) -> list[WorkerRow]:
        with self._read() as tables:
            return [tables.workers[key] for key in sorted(tables.workers)]


def _is_overdue(worker: WorkerRow, seconds: float) -> bool:
    return worker.state in _OVER or _is_silent(worker, seconds)


def _is_silent(worker: WorkerRow, seconds: float) -> bool:
    return worker.heartbeat_at < utc_now() - timedelta(seconds=seconds)
