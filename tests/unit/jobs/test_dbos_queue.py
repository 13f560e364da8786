"""Jobs in a database, from outside: enqueued, looked at, given back and forgotten, on SQLite and on Postgres."""

import base64
import json
import pickle
import subprocess
import sys
import time

import pytest
from dbos._serialization import DefaultSerializer, deserialize_args
from sqlalchemy import create_engine, event, make_url, text

from wildcast_server.errors import RecordError, SchemaMismatchError, ServiceUnavailableError, SettingsError
from wildcast_server.jobs import Job, JobState
from wildcast_server.jobs.dbos_database import JsonSerializer, StepFailedError, check_sqlite
from wildcast_server.jobs.dbos_engine import DbosQueue, check_jobs, migrate_jobs


def job_of(name: str, order: int = 1, queue: str = "compute") -> Job:
    return Job(f"{name}.1", "compute", queue, name, order)


@pytest.fixture
def engine(database_url):
    """An engine as the records have one."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    made = create_engine(url)
    migrate_jobs(str(database_url))
    yield made
    made.dispose()


@pytest.fixture
def queue(engine, database_url):  # noqa: ARG001 - it has made the tables
    """A queue on that database."""
    made = DbosQueue(database_url)
    yield made
    made.close()


def statuses(engine) -> str:
    return "workflow_status" if engine.dialect.name == "sqlite" else "dbos.workflow_status"


OWN = {"workflow_uuid", "creator_xid", "created_at", "updated_at", "retention_timestamp"}
"""What differs between jobs that are alike; their inputs are in a table of their own."""


def rows_of(engine, job_id: str) -> dict:
    """Return what the engine keeps of a job that waits."""
    with engine.connect() as connection:
        row = connection.execute(
            text(f"SELECT * FROM {statuses(engine)} WHERE workflow_uuid = :job"),  # noqa: S608 - a constant
            {"job": job_id},
        )
        return dict(row.mappings().one())


def hold(engine, job_id: str, executor: str) -> None:
    """Record that a worker has taken a job."""
    with engine.begin() as connection:
        change = f"UPDATE {statuses(engine)} SET status = 'PENDING', executor_id = :executor WHERE workflow_uuid = :job"  # noqa: S608 - a constant
        connection.execute(text(change), {"executor": executor, "job": job_id})


def test_the_import_registers_nothing():
    """Neither a worker nor a workflow is there before one is started: both would be the whole process'."""
    code = (
        "import wildcast_server.jobs.dbos_engine, dbos._dbos as inside;"
        "print(inside._dbos_global_instance, inside._dbos_global_registry)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "None None\n"


def test_a_job_is_there_with_its_transaction_or_not_at_all(queue, engine):
    """What is rolled back was never enqueued, and what is committed waits."""
    with engine.connect() as connection:
        queue.enqueue(job_of("a"), connection)
        connection.rollback()
    assert queue.states(["a.1"]) == {"a.1": JobState.GONE}
    with engine.begin() as connection:
        queue.enqueue(job_of("a"), connection)
    assert queue.states(["a.1"]) == {"a.1": JobState.WAITING}
    queue.enqueue(job_of("b"), None)
    assert queue.states(["b.1"]) == {"b.1": JobState.WAITING}


def test_a_job_is_enqueued_once(queue, engine):
    """A second one of its id is refused, and the transaction goes on."""
    queue.enqueue(job_of("a"), None)
    with engine.begin() as connection:
        with pytest.raises(RecordError, match=r"there is a job 'a\.1' already"):
            queue.enqueue(job_of("a"), connection)
        queue.enqueue(job_of("b"), connection)
    assert queue.states(["a.1", "b.1"]) == dict.fromkeys(["a.1", "b.1"], JobState.WAITING)


def test_many_jobs_take_as_many_statements_as_one(queue, engine):
    """Two, however many there are; and each is as one that was enqueued alone."""
    seen: list[str] = []

    def see(_connection, _cursor, statement, *_: object):
        seen.append(statement)

    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", see)
        queue.enqueue_all([job_of(f"many-{number}") for number in range(50)], connection)
    assert len(seen) == 2
    queue.enqueue(job_of("alone"), None)
    names = [f"many-{number}.1" for number in range(50)]
    assert set(queue.states(names).values()) == {JobState.WAITING}
    many, alone = rows_of(engine, "many-7.1"), rows_of(engine, "alone.1")
    assert {name for name in many if many[name] != alone[name]} <= OWN


def test_one_job_that_is_there_refuses_all(queue, engine):
    """By its name; what the transaction holds then is rolled back by whoever began it."""
    queue.enqueue(job_of("b"), None)
    with engine.connect() as connection, pytest.raises(RecordError, match=r"there is a job 'b\.1' already"):
        queue.enqueue_all([job_of("a"), job_of("b"), job_of("c")], connection)
    assert queue.states(["a.1", "c.1"]) == dict.fromkeys(["a.1", "c.1"], JobState.GONE)


def test_the_order_has_no_end(queue):
    """More executions than the engine counts all wait behind the others."""
    queue.enqueue(job_of("a", order=2**40), None)
    queue.enqueue(job_of("b", order=0), None)
    assert set(queue.states(["a.1", "b.1"]).values()) == {JobState.WAITING}


def test_what_is_withdrawn_is_done(queue):
    """Nobody takes it any more; what is not there is no error."""
    queue.enqueue(job_of("a"), None)
    queue.withdraw(["a.1", "nothing.1"])
    assert queue.states(["a.1", "nothing.1"]) == {"a.1": JobState.DONE, "nothing.1": JobState.GONE}
    assert queue.states([]) == {}


def test_what_a_worker_holds_is_given_back_once(queue, engine):
    """Only from the worker that has it: what another one has taken since stays with that."""
    queue.enqueue(job_of("a"), None)
    hold(engine, "a.1", "worker-1")
    assert queue.states(["a.1"]) == {"a.1": JobState.WORKING}
    assert (queue.held_by("worker-1"), queue.held_by("worker-2")) == (["a.1"], [])
    assert [queue.give_back("a.1", "worker-2"), queue.give_back("a.1", "worker-1")] == [False, True]
    assert queue.give_back("a.1", "worker-1") is False
    assert queue.states(["a.1"]) == {"a.1": JobState.WAITING}


def test_what_is_forgotten_is_gone(queue):
    """Nothing is kept of it."""
    queue.enqueue(job_of("a"), None)
    queue.withdraw(["a.1"])
    queue.forget(["a.1"])
    assert queue.states(["a.1"]) == {"a.1": JobState.GONE}


def test_nothing_is_pickled(queue, engine):
    """What the database holds of a job is JSON, and says so."""
    queue.enqueue(job_of("a"), None)
    inputs = statuses(engine).replace("status", "input")
    with engine.connect() as connection:
        kept = connection.execute(text(f"SELECT inputs FROM {inputs}")).scalar_one()  # noqa: S608 - a constant
        how = connection.execute(text(f"SELECT serialization FROM {statuses(engine)}")).scalar_one()  # noqa: S608 - a constant
    assert json.loads(kept) == {"args": ["a.1", "a"], "kwargs": {}}
    assert how == "wildcast_json"


class Bomb:
    """Goes off when it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[object, ...]:
        return (setattr, (Bomb, "exploded", True))


def test_nothing_is_unpickled(queue):
    """Not even what names the engine's own serializer, which would."""
    del queue
    planted = base64.b64encode(pickle.dumps(Bomb())).decode()
    with pytest.raises(ValueError, match="pickles none"):
        deserialize_args(planted, "py_pickle", JsonSerializer())
    with pytest.raises(ValueError, match="Expecting value"):
        deserialize_args(planted, "wildcast_json", JsonSerializer())
    with pytest.raises(ValueError, match="pickles none"):
        DefaultSerializer().deserialize(planted)
    assert not Bomb.exploded


def test_an_exception_is_kept_as_its_text():
    """Its type and sentence come back, in an exception of ours."""
    serializer = JsonSerializer()
    back = serializer.deserialize(serializer.serialize(KeyError("x")))
    assert isinstance(back, StepFailedError)
    assert str(back) == "KeyError: 'x'"


def test_values_come_back(engine):
    """Arguments are a tuple again, and what JSON cannot say is refused."""
    del engine
    serializer = JsonSerializer()
    for value in ({"args": ("a", 1), "kwargs": {}}, {"end": "computed"}, None, [1, 2]):
        assert serializer.deserialize(serializer.serialize(value)) == value
    with pytest.raises(ValueError, match="JSON"):
        serializer.serialize(float("nan"))


def test_a_database_without_the_tables_is_refused(database_url):
    """The sentence says which command makes them; made once, they are there."""
    with pytest.raises(SchemaMismatchError, match="wildcast-server migrate"):
        check_jobs(database_url)
    migrate_jobs(database_url)
    migrate_jobs(database_url)
    check_jobs(database_url)


def test_a_database_that_cannot_be_reached_is_told_soon():
    """Every call says so in seconds, and nothing says the password."""
    queue = DbosQueue("postgresql+psycopg://user:canary@127.0.0.1:1/nowhere")
    began = time.monotonic()
    for call in (queue.check, lambda: queue.states(["a.1"]), lambda: queue.enqueue(job_of("a"), None)):
        with pytest.raises(ServiceUnavailableError, match="cannot be used now") as caught:
            call()
        assert "canary" not in f"{caught.value} {caught.value.__cause__!r}"
    assert time.monotonic() - began < 10
    queue.close()


@pytest.mark.parametrize(
    ("url", "python", "sqlite", "fits"),
    [
        ("sqlite:////x", (3, 11), (3, 40, 1), True),
        ("sqlite:////x", (3, 12), (3, 41, 2), False),
        ("sqlite:////x", (3, 12), (3, 42, 0), True),
        ("sqlite:////x", (3, 13), (3, 40, 1), False),
        ("postgresql://x", (3, 13), (3, 40, 1), True),
    ],
)
def test_an_sqlite_that_is_too_old_for_its_python_is_refused(url, python, sqlite, fits):
    """From Python 3.12 on the engine asks SQLite for fractions of a second, which older ones do not have."""
    if fits:
        check_sqlite(url, python, sqlite)
        return
    with pytest.raises(SettingsError, match=rf"need SQLite 3\.42 .* has 3\.{sqlite[1]}"):
        check_sqlite(url, python, sqlite)
