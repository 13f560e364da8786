"""Use cases on records in memory, with small doubles of the ports beside them."""

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
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import JobEngine, RunRequest
from wildcast_server.publish import Published
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.run import RunExecution, as_record

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


class ListedJobs(JobEngine):
    """An engine that notes what it is given, and runs nothing; stopped, it takes nothing."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.stopped = False

    def start(self, handler: Callable[[str], None]) -> None:
        """Nothing to start."""

    def enqueue(self, execution_id: str) -> None:
        if self.stopped:
            raise ServiceUnavailableError("the server is stopping")
        self.taken.append(execution_id)

    def check(self) -> None:
        if self.stopped:
            raise ServiceUnavailableError("the server is stopping")

    def stop(self, grace_seconds: float) -> None:  # noqa: ARG002 - the port's
        self.stopped = True


@dataclass
class ScriptedRunner:
    """Does what a test says in place of a workflow."""

    script: Callable[[RunRequest, Callable[[dict[str, Any]], None]], None]
    requests: list[RunRequest] = field(default_factory=list)
    pid: int | None = None

    def run(self, request: RunRequest, on_progress: Callable[[dict[str, Any]], None]) -> Provenance:
        self.requests.append(request)
        request.output_directory.mkdir(parents=True, exist_ok=True)
        self.script(request, on_progress)
        return RAN


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
def jobs() -> ListedJobs:
    """An engine that only notes."""
    return ListedJobs()


@pytest.fixture
def queued(records) -> Execution:
    """An execution that waits."""
    execution = Execution(id=ID, workflow_name="simulate", parameters={"n": 1})
    records.insert(execution)
    return execution


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


@pytest.fixture
def run_with(records, tmp_path) -> Iterator[Callable[..., RunExecution]]:
    """Put the use case together from a script for the workflow and a way to publish."""

    def build(script: Any = lambda *_: None, publish: Any = publish_nowhere, **options: Any) -> RunExecution:
        values = {"records": records, "output_root": tmp_path / "outputs", "keep_local_output": False}
        values["begin"] = PlainBegin(publish)
        return RunExecution(runner=ScriptedRunner(script), **(values | options))

    return build
