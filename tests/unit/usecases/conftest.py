"""Use cases on records and jobs in memory, with small doubles of the ports beside them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.manifest import FileRow, Manifest
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import ExecutionCancelledError
from wildcast_server.jobs import Job, MemoryJobs, MemorySteps, RunRequest
from wildcast_server.jobs.call_note import noting
from wildcast_server.publish import Published
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.compute import Compute
from wildcast_server.usecases.drain import Drain
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.identity import Identity
from wildcast_server.usecases.means import Means
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.patience import Patience
from wildcast_server.usecases.publish_output import PublishOutput
from wildcast_server.usecases.queues import compute_job
from wildcast_server.usecases.watch import Watch

ID = "exec_1_00000001"

RAN = Provenance(
    host="node-7",
    wildcast="1.2.3",
    python="3.12.1",
    platform="Linux",
    workflow_sha256="ab" * 32,
    device="cuda:0",
    peak_memory_bytes=2**30,
    queued_seconds=None,
    compute_seconds=1.5,
    publish_seconds=None,
)


class AtRest(BaseException):
    """A step does not go on."""


def come_to_rest() -> Any:
    """Stand for a step that never returns."""
    raise AtRest


@dataclass
class ScriptedRunner:
    """Does what a test says in place of a workflow."""

    script: Callable[[RunRequest, Callable[[dict[str, Any]], None]], None]
    requests: list[RunRequest] = field(default_factory=list)
    pid: int | None = None
    is_begun: bool = True
    """Whether what is run gets as far as the workflow's own code."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(
        self, request: RunRequest, on_progress: Callable[[dict[str, Any]], None], on_start: Callable[[], None]
    ) -> Provenance:
        self.cancelled.clear()
        self.requests.append(request)
        request.output_directory.mkdir(parents=True, exist_ok=True)
        with noting(request.begun) as note_call:
            if self.is_begun:
                note_call()
        on_start()
        self.script(request, on_progress)
        return RAN

    def cancel(self, grace: float, execution_id: str | None = None) -> bool:
        del grace, execution_id
        self.cancelled.set()
        return True

    def wait_to_be_cancelled(self, *_: object) -> None:
        """Run until it is: the script of a workflow that does nothing else."""
        assert self.cancelled.wait(10)
        raise ExecutionCancelledError("it was cancelled")


def manifest_of(name: str, attempt: int) -> Manifest:
    return Manifest.of(
        [FileRow("a.txt", 5, "AAAAAAAAAAA=", '"e"', "text/plain")],
        execution=name,
        attempt=attempt,
        created_at=utc_now(),
        verified="crc64nvme",
        datasets=(),
    )


def publish_nowhere(_directory: Path, execution: Execution) -> Published:
    """Say that everything was published."""
    return Published.of(manifest_of(execution.id, execution.attempt), f"outputs/{execution.id}")


@dataclass
class PlainPublication:
    """A publication of which only the end counts, as a test's function makes it."""

    publish: Callable[[Path, Execution], Published]
    directory: Path
    execution: Execution
    journal: list[str]

    def sink(self) -> None:
        return None

    def live(self, group: Callable[[], int | None], on_progress: Any) -> Any:  # noqa: ARG002 - the port's
        return nullcontext()

    def share(self) -> None:
        self.journal.append("shared")

    def finish(self, on_progress: Any) -> Published:  # noqa: ARG002 - the port's
        return self.publish(self.directory, self.execution)

    def abandon(self) -> None:
        self.journal.append("abandoned")

    def close(self) -> None:
        self.journal.append("closed")


@dataclass
class PlainBegin:
    """Begins publications that a function makes, and notes what becomes of them."""

    publish: Callable[[Path, Execution], Published]
    journal: list[str] = field(default_factory=list)

    def __call__(self, directory: Path, execution: Execution, *, afresh: bool) -> PlainPublication:
        self.journal.append("afresh" if afresh else "again")
        return PlainPublication(self.publish, directory, execution, self.journal)


@pytest.fixture
def at_rest() -> type[BaseException]:
    """What a step raises here that elsewhere would never return."""
    return AtRest


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something is so."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return wait


@pytest.fixture
def told() -> Provenance:
    """What the runner tells of every run."""
    return RAN


@pytest.fixture
def nowhere() -> Callable[..., Published]:
    """Say that everything was published."""
    return publish_nowhere


@pytest.fixture
def records() -> MemoryRecords:
    """Records in memory."""
    return MemoryRecords()


@pytest.fixture
def jobs() -> MemoryJobs:
    """Jobs that wait, and that nobody takes by itself."""
    return MemoryJobs()


@pytest.fixture
def queued(records, jobs) -> Execution:
    """An execution that waits, with its job."""
    execution = Execution(id=ID, workflow_name="simulate", parameters={"n": 1}, jobs=1)
    return records.insert(execution, within=lambda now, _: jobs.enqueue(compute_job(now), None)).execution


@pytest.fixture
def bring_to(records) -> Callable[..., Execution]:
    """Record an execution in a status."""
    path = [ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS, ExecutionStatus.COMPLETED]

    def bring(execution_id: str, status: ExecutionStatus, attempt: int = 1, storage_type: str = "s3") -> Execution:
        execution = Execution(id=execution_id, workflow_name="simulate", parameters={}, attempt=attempt)
        records.insert(execution)
        if status in path:
            for step in path[: path.index(status) + 1]:
                extra: dict[str, Any] = {"started_at": utc_now()} if step is ExecutionStatus.RUNNING else {}
                if step is ExecutionStatus.COMPLETED:
                    published = Published.of(
                        manifest_of(execution_id, attempt), f"outputs/{execution_id}", storage_type=storage_type
                    )
                    extra = {"published": as_record(published, attempt), "ended_at": utc_now()}
                execution = records.change(execution_id, expected=execution.status, to=step, **extra)
        elif status is not ExecutionStatus.QUEUED:
            execution = records.change(
                execution_id, expected=ExecutionStatus.QUEUED, to=status, error_message="it did not converge"
            )
        return execution

    return bring


@dataclass
class Bench:
    """A worker that does one job when it is told to."""

    means: Means
    compute: Compute
    publish: PublishOutput
    begin: Any
    runner: Any

    def do(self, job: Job) -> None:
        """Do this job."""
        self.means.jobs.withdraw([job.id])
        handlers = {"compute": self.compute, "publish": self.publish}
        asyncio.run(handlers[job.kind](job.id, job.execution_id, MemorySteps()))

    def work(self) -> None:
        """Do what waits, and what follows from it."""
        while waiting := self.means.jobs.waiting:
            self.do(waiting[0])

    def work_once(self) -> None:
        """Do the first job that waits."""
        self.do(self.means.jobs.waiting[0])


IDENTITY = Identity(host="node-7", instance="aaaaaaaa", site="bbbbbbbb", label="compute-publish", slot=0)


@pytest.fixture
def bench(records, jobs, tmp_path) -> Iterator[Callable[..., Bench]]:
    """Put a worker together from a script for the workflow and a way to publish."""
    watches: list[Watch] = []

    def build(script: Any = lambda *_: None, publish: Any = publish_nowhere, **options: Any) -> Bench:
        kept = options.pop("records", records)
        watch = Watch(kept, period=0.01)
        watches.append(watch)
        watch.__enter__()
        drain = Drain(come_to_rest)
        begin = options.pop("begin", None) or PlainBegin(publish)
        means = Means(
            records=kept,
            jobs=jobs,
            begin=begin,
            output_root=tmp_path / "outputs",
            identity=options.pop("identity", IDENTITY),
            ending=options.pop("ending", Ending("s3", "outputs")),
            watch=watch,
            drain=drain,
            patiently=Patience(drain, options.pop("waits", (0.0,))),
        )
        runner = options.pop("runner", None) or ScriptedRunner(script)
        attempts = options.pop("max_attempts", 3)
        seconds = options.pop("seconds", None)
        return Bench(
            means,
            Compute(means=means, runner=runner, max_attempts=attempts, seconds_for=lambda _: seconds),
            PublishOutput(
                means=means,
                keep_local_output=options.pop("keep_local_output", False),
                max_attempts=attempts,
                pauses=options.pop("pauses", ()),
            ),
            begin,
            runner,
        )

    yield build
    for watch in watches:
        watch.__exit__(None, None, None)
