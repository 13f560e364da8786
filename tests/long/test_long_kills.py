"""Processes of the embedded service that are killed at any moment, over a stream of executions."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from tests.long.processes import Program, Submitter, eventually, free_port, noted, rows, survivors

from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH

KILLS = int(os.environ.get("LONG_KILLS", "500"))
EXECUTIONS = int(os.environ.get("LONG_EXECUTIONS", "500"))
SEED = int(os.environ.get("LONG_SEED", "1"))
IN_FLIGHT = 12
"""How many executions wait or run at a time, so that there are some at every kill."""

VICTIMS = (*["runner"] * 6, *["worker"] * 2, *["api"] * 2, "edge", "fork server")
EVERY_NTH_SUPERVISOR = 25
UP = "API   http"

PAUSES = (0.3, 0.8)
"""Between two kills, in seconds."""

GROWN = (0.3, 1.5)
"""A server is spared until it is as old as a number between these, in starts of the service; and a worker until it is
up: else most would die before, and there would be nothing to lose."""

GONE_SECONDS = 10.0
"""Within which nothing may be left of a supervisor that is killed."""


class Killer:
    """Kills processes of a service, one after the other.

    Parameters
    ----------
    service
        Which.
    url
        Of its database.
    starts
        What marks its processes.
    seed
        Of who is killed when.
    usual
        How long the service takes to start, in seconds.
    """

    def __init__(self, service: Program, url: str, starts: Path, seed: int, usual: float) -> None:
        self._url = url
        self._usual = usual
        self._service = service
        self._starts = starts
        self._random = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.slowest_end = 0.0

    def run(self, kills: int) -> None:
        """Kill as often as that."""
        while self.killed.total() < kills:
            time.sleep(self._random.uniform(*PAUSES))
            if (self.killed.total() + 1) % EVERY_NTH_SUPERVISOR == 0:
                self._kill_supervisor()
            else:
                self._kill_one(self._random.choice(VICTIMS))

    def _kill_one(self, wanted: str) -> None:
        """Kill one that is this; none if that is being started, since then somebody else is drawn."""
        candidates = self._service.members().get(wanted, [])
        with suppress(psutil.NoSuchProcess):
            if wanted in ("worker", "runner"):
                up = {row[0] for row in rows(self._url, "SELECT pid FROM workers WHERE state = 'up'")}
                candidates = [each for each in candidates if (each.pid if wanted == "worker" else each.ppid()) in up]
            else:
                grown = time.time() - self._usual * self._random.uniform(*GROWN)
                candidates = [each for each in candidates if each.create_time() <= grown]
            if candidates:
                self._random.choice(candidates).kill()
                self.killed[wanted] += 1

    def _kill_supervisor(self) -> None:
        self._service.kill()
        self.killed["supervisor"] += 1
        began = time.monotonic()
        left = eventually(lambda: survivors(self._starts) or ["none"])
        while left != ["none"]:
            assert time.monotonic() - began < GONE_SECONDS, f"these outlive their supervisor: {left}"
            time.sleep(0.05)
            left = survivors(self._starts) or ["none"]
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        ups = self._service.log().count(UP)
        self._service.start()
        # One that is killed before it is up for the first time ends the service: it does not start.
        eventually(lambda: self._service.log().count(UP) > ups, 180, "the next start")


class Onlooker:
    """Notes how often a workflow had been started when its execution was first seen computed, and when completed.

    Parameters
    ----------
    url
        Of the database.
    starts
        Where workflows note that they start.
    """

    def __init__(self, url: str, starts: Path) -> None:
        self._url, self._starts = url, starts
        self.when_computed: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        statement = "SELECT id FROM executions WHERE status IN ('pending_results', 'completed')"
        while not self._over.wait(0.3):
            try:
                # In this order: a start that comes behind the first look would be one too many.
                seen = [row[0] for row in rows(self._url, statement)]
                begun = noted(self._starts)
            except Exception as error:  # noqa: BLE001 - told at the end
                self.error = error
                continue
            for execution_id in seen:
                self.when_computed.setdefault(execution_id, begun[execution_id])


def submit_all(submitter: Submitter, url: str, ids: list[str]) -> None:
    """Submit a stream: so many at a time that the service always has something to do, and no more."""
    waiting = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running', 'pending_results')"
    for number in range(EXECUTIONS):
        eventually(lambda: next(rows(url, waiting))[0] < IN_FLIGHT, 300, "a place in the queue")
        ids.append(submitter.submit(f"key-{number}", seconds=0.3, text=f"execution {number}"))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_lost_stuck_orphaned_or_computed_twice(
    start: Callable[..., Program],
    settings: Callable[..., dict[str, Any]],
    database_url: str,
    tmp_path: Path,
    figures: Callable[..., None],
):
    """Whoever is killed, every execution ends, with as many starts of its workflow as attempts are recorded."""
    port, starts = free_port(), tmp_path / "starts"
    values = settings(database_url, **{"workflows.max_attempts": 50})
    began = time.monotonic()
    service = start("serve", ["serve", "--port", str(port), "--edge-port", str(free_port())], values)
    eventually(lambda: UP in service.log(), 180)
    killer = Killer(service, database_url, starts, SEED, time.monotonic() - began)
    submitter, ids, began = Submitter(f"http://127.0.0.1:{port}"), [], time.monotonic()
    stream = threading.Thread(target=submit_all, args=(submitter, database_url, ids), daemon=True)
    with Onlooker(database_url, starts) as onlooker:
        stream.start()
        killer.run(KILLS)
        killed_for = time.monotonic() - began
        stream.join(900)
        assert not stream.is_alive(), f"only {len(ids)} of {EXECUTIONS} were accepted"
        ended = "SELECT count(*) FROM executions WHERE status NOT IN ('queued', 'running', 'pending_results')"
        eventually(lambda: next(rows(database_url, ended))[0] == EXECUTIONS, 300, "the end of all executions")
    took = time.monotonic() - began
    submitter.close()
    eventually(lambda: not unfinished_jobs(database_url), 60, "the end of all jobs")
    assert service.stop() == 0
    assert survivors(starts) == []
    attempts = check_records(database_url, ids, starts, onlooker)
    check_store(tmp_path / "data", ids)
    figures(
        f"kill -9 on {database_url.partition(':')[0]}",
        kills=killer.killed.total(),
        of_these=" ".join(f"{role} {number}" for role, number in sorted(killer.killed.items())),
        finished=f"{len(ids)} of {EXECUTIONS}",
        attempts=attempts.total(),
        starts=noted(starts).total(),
        most_attempts=max(attempts.values()),
        seconds_of_kills=round(killed_for),
        seconds=round(took),
        slowest_end_of_orphans=round(killer.slowest_end, 2),
        requests_asked_again=submitter.asked_again,
    )


def check_records(url: str, ids: list[str], starts: Path, onlooker: Onlooker) -> Counter[str]:
    """Compare what is recorded with what the workflows have noted; return the attempts."""
    recorded = {row[0]: row[1:] for row in rows(url, "SELECT id, status, attempt, error_message FROM executions")}
    assert sorted(recorded) == sorted(ids)
    assert len(set(ids)) == EXECUTIONS
    wrong = {key: value for key, value in recorded.items() if value[0] != "completed"}
    assert not wrong, f"{len(wrong)} did not complete: {dict(list(wrong.items())[:5])}"
    attempts, begun = Counter({key: value[1] for key, value in recorded.items()}), noted(starts)
    differing = {key: (attempts[key], begun[key]) for key in ids if attempts[key] != begun[key]}
    assert not differing, f"attempts recorded, starts: {differing}"
    again = {key: (seen, begun[key]) for key, seen in onlooker.when_computed.items() if seen != begun[key]}
    assert not again, f"started again when it was computed: {again}"
    assert onlooker.when_computed, f"nobody looked: {onlooker.error}"
    return attempts


def unfinished_jobs(url: str) -> list[tuple[Any, ...]]:
    """Return the jobs that the engine still has to do."""
    table = "workflow_status" if url.startswith("sqlite") else "dbos.workflow_status"
    statement = f"SELECT workflow_uuid, status FROM {table} WHERE status IN ('ENQUEUED', 'DELAYED', 'PENDING')"  # noqa: S608 - one of two names
    return list(rows(url, statement))


def check_store(data: Path, ids: list[str]) -> None:
    """Hold that the store has each publication whole, and nothing else."""
    objects = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() and "/objects/" in str(path)}
    manifests = [path for path in data.rglob(MANIFEST_PATH) if "/objects/" in str(path)]
    assert len(manifests) == len(ids)
    named = set()
    for path in manifests:
        top = path.parent.parent
        named.add(str(path.relative_to(data)))
        for row in decode_manifest(path.read_bytes()).rows:
            assert (top / row.path).stat().st_size == row.size
            named.add(str((top / row.path).relative_to(data)))
    assert objects == named, f"in the store and in no manifest: {sorted(objects - named)[:10]}"
    left = [path for path in (data / "outputs").rglob("*") if path.name not in {".site", ".transfers"}]
    assert left == [], f"left on the disk: {left[:10]}"
