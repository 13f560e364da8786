"""What the API does to executions, on the databases that keep records and jobs."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.databases import Postgres

from wildcast.contract.manifest import FileRow, Manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api import UseCases
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import (
    IdempotencyConflictError,
    QueueFullError,
    ServiceUnavailableError,
    StatusConflictError,
    UnknownExecutionError,
)
from wildcast_server.jobs import JobState
from wildcast_server.publish import Published
from wildcast_server.records import Limits, PageQuery
from wildcast_server.settings import load_settings
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.submit import Request
from wildcast_server.wiring.api import build_api_parts

WORKFLOW = """
from wildcast_server import workflow


@workflow
def simulate(n: int = 1) -> None:
    '''Count.'''
"""

STATUSES = [status for status in Status if status is not Status.ACCEPTED]
LABELS = itertools.count()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def use_cases(request, tmp_path_factory) -> Iterator[UseCases]:
    """Everything behind the API on a database of each kind; no worker takes what is queued."""
    root: Path = tmp_path_factory.mktemp("actions")
    (root / "simulate.py").write_text(WORKFLOW)
    url = f"sqlite:///{root / 'wildcast.sqlite'}"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.complete()
    values = {
        "data_dir": root / "data",
        "database.url": url,
        "workflows.directories": [root],
        "results.min_free_disk_bytes": 0,
        "object_storage.enabled": False,
    }
    settings = load_settings(values, environ={}, cwd=root).settings
    settings.output_dir.mkdir(parents=True)
    parts = build_api_parts(settings, None, None)
    yield parts.use_cases
    parts.close()


@pytest.fixture
def records(use_cases):
    """Where executions are recorded."""
    return use_cases.submit.records


@pytest.fixture
def jobs(use_cases):
    """Where their jobs are."""
    return use_cases.submit.jobs


@pytest.fixture
def submit(use_cases):
    """Submit an execution of the workflow."""
    return lambda **options: use_cases.submit(Request(workflow_name="simulate", **options)).execution


@pytest.fixture
def bring_to(submit, records):
    """Submit an execution and bring it to a status, on the way that executions take."""

    def complete(name: str) -> None:
        row = FileRow("a.txt", 5, "AAAAAAAAAAA=", '"e"', "text/plain")
        about = {"execution": name, "attempt": 1, "created_at": utc_now(), "verified": "local", "datasets": ()}
        published = Published.of(Manifest.of([row], **about), name, storage_type="server")
        ended = {"ended_at": utc_now(), "published": as_record(published, 1)}
        records.change(name, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, **ended)

    def bring(status: Status) -> str:
        name = submit().id
        if status is Status.QUEUED:
            return name
        if status is Status.CANCELLED:
            records.change(name, expected=Status.QUEUED, to=status, ended_at=utc_now())
            return name
        records.begin_attempt(
            name, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
        )
        if status is Status.FAILED:
            records.change(name, expected=Status.RUNNING, to=status, ended_at=utc_now(), failed_step="compute")
        elif status is not Status.RUNNING:
            records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
            if status is not Status.PENDING_RESULTS:
                complete(name)
            if status is Status.EXPIRED:
                records.change(name, expected=Status.COMPLETED, to=status)
        return name

    return bring


ALLOWED = {
    "cancel": {Status.QUEUED, Status.RUNNING, Status.PENDING_RESULTS, Status.CANCELLED},
    "retry": {Status.QUEUED, Status.RUNNING, Status.PENDING_RESULTS, Status.FAILED},
    "pin": set(STATUSES) - {Status.EXPIRED},
    "delete": {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED},
}


@pytest.mark.parametrize("action", ALLOWED)
def test_every_action_in_every_status(use_cases, bring_to, action):
    """Done twice where the status allows it, and refused twice where it does not."""
    act = getattr(use_cases.actions, action)
    for status in STATUSES:
        name = bring_to(status)
        for _ in range(2):
            if status in ALLOWED[action]:
                act("simulate", name)
            else:
                with pytest.raises(StatusConflictError, match=name):
                    act("simulate", name)


def test_record_and_job_are_one_transaction(use_cases, submit, records, jobs):
    """A submission whose transaction fails after its job was added leaves neither."""
    seen = []

    def failing(given, connection):
        jobs.enqueue_all(given, connection)
        seen.extend(given)
        raise ServiceUnavailableError("the connection is lost")

    class Failing:
        enqueue_all = staticmethod(failing)

    before = len(records.unfinished())
    with pytest.raises(ServiceUnavailableError, match="is lost"):
        replace(use_cases.submit, jobs=Failing())(Request(workflow_name="simulate"))
    (job,) = seen
    assert jobs.states([job.id]).get(job.id, JobState.GONE) is JobState.GONE
    assert len(records.unfinished()) == before
    with pytest.raises(UnknownExecutionError):
        records.get(job.execution_id)
    accepted = submit()
    assert jobs.states([accepted.job_id])[accepted.job_id] is JobState.WAITING


def test_many_repetitions_at_once_are_one_execution(use_cases, jobs):
    """Each in a transaction of its own, from sixteen threads; another request with the key is refused."""
    request = Request(workflow_name="simulate", parameters={"n": 2}, key=f"key-{next(LABELS)}")
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(use_cases.submit, [request] * 16))
    (name,) = {each.execution.id for each in outcomes}
    assert sum(each.is_new for each in outcomes) == 1
    assert jobs.states([f"{name}.1"]) == {f"{name}.1": JobState.WAITING}
    with pytest.raises(IdempotencyConflictError):
        use_cases.submit(replace(request, parameters={"n": 3}))


def test_a_bound_holds_however_many_come_at_once(use_cases, records):
    """Nobody comes in between counting and recording."""
    waiting = records.unfinished_counts()[Status.QUEUED]
    bounded = replace(use_cases.submit, limits=Limits(max_queued=waiting + 5))

    def one(_number: int) -> bool:
        try:
            return bounded(Request(workflow_name="simulate")).is_new
        except QueueFullError:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(one, range(40))) == 5
    assert records.unfinished_counts()[Status.QUEUED] == waiting + 5


def test_what_is_cancelled_while_it_waits_is_worked_on_by_nobody(use_cases, submit, jobs):
    """Its job is taken back."""
    execution = submit()
    use_cases.actions.cancel("simulate", execution.id)
    assert jobs.states([execution.job_id])[execution.job_id] is JobState.DONE


def test_a_retry_has_a_job_of_its_own(use_cases, bring_to, jobs):
    """The second of its execution."""
    name = bring_to(Status.FAILED)
    retried = use_cases.actions.retry("simulate", name)
    assert (retried.status, retried.job_id) == (Status.QUEUED, f"{name}.2")
    assert jobs.states([retried.job_id])[retried.job_id] is JobState.WAITING


def test_retries_at_once_are_one(use_cases, bring_to, jobs):
    """From eight threads: one new attempt, and one new job."""
    name = bring_to(Status.FAILED)
    with ThreadPoolExecutor(8) as pool:
        retried = list(pool.map(lambda _: use_cases.actions.retry("simulate", name), range(8)))
    assert {each.attempt for each in retried} == {2}
    states = jobs.states([f"{name}.2", f"{name}.3"])
    assert states.get(f"{name}.3", JobState.GONE) is JobState.GONE


def test_pages_are_the_list(use_cases, submit):
    """By a label that only these have; what is submitted meanwhile does not come in between."""
    labels = {"list": str(next(LABELS))}
    names = [submit(labels=labels).id for _ in range(7)]
    query, found = PageQuery(labels=labels, limit=3), []
    while True:
        page = use_cases.listing(query)
        found += [each.execution.id for each in page.standings]
        submit(labels=labels)
        if page.next is None:
            break
        query = replace(query, before=page.next)
    assert found == names[::-1]
