"""Deleting executions."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import StatusConflictError, UnknownExecutionError
from wildcast_server.usecases.delete import Delete
from wildcast_server.usecases.ending import Ending

ID = "exec_1_00000001"


@pytest.fixture
def delete(records):
    """The use case, over local results."""
    return Delete(records, Ending("server"))


@pytest.fixture
def cancelled(records):
    """An execution that was cancelled while it ran."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}, jobs=1), key="k", fingerprint="f")
    records.begin_attempt(
        ID, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
    )
    return records.change(ID, expected=Status.RUNNING, to=Status.CANCELLED, ended_at=utc_now())


def removals(records):
    return records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10)


@pytest.mark.usefixtures("cancelled")
def test_it_is_unknown_and_its_removal_is_noted(delete, records):
    """Both in one change; deleting it again notes nothing more."""
    for _ in range(2):
        delete("simulate", ID)
    with pytest.raises(UnknownExecutionError):
        records.get(ID)
    assert [each.reason for each in removals(records)] == ["deleted"]


@pytest.mark.usefixtures("cancelled")
def test_its_idempotency_key_is_free_again(delete, records):
    """The same request means a new execution then."""
    delete("simulate", ID)
    again = Execution(id="exec_1_00000002", workflow_name="simulate", parameters={})
    assert records.insert(again, key="k", fingerprint="f").is_new


@pytest.mark.usefixtures("cancelled")
def test_deleting_twice_at_once_is_one_deletion(delete, records):
    """The later one finds it deleted, which is what it wanted."""
    original = records.mark

    def late(name, **options):
        records.mark = original
        delete("simulate", ID)
        return original(name, **options)

    records.mark = late
    delete("simulate", ID)
    assert len(removals(records)) == 1


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_what_has_not_ended_is_refused(delete, records, status):
    """Nothing that a worker still writes is taken away under it."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    if status is Status.RUNNING:
        records.change(ID, expected=Status.QUEUED, to=status)
    with pytest.raises(StatusConflictError, match="cancel it first"):
        delete("simulate", ID)
    assert records.get(ID).deleted_at is None


@pytest.mark.usefixtures("cancelled")
def test_what_is_retried_in_between_is_refused(delete, records):
    """It was failed when it was looked up, and runs now."""
    records.insert(Execution(id="exec_1_00000002", workflow_name="simulate", parameters={}))
    records.change("exec_1_00000002", expected=Status.QUEUED, to=Status.FAILED)
    original = records.mark

    def late(name, **options):
        records.change("exec_1_00000002", expected=Status.FAILED, to=Status.QUEUED, new_attempt=2)
        return original(name, **options)

    records.mark = late
    with pytest.raises(StatusConflictError, match="is queued"):
        delete("simulate", "exec_1_00000002")


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize(
    ("workflow", "name"), [("other", ID), ("simulate", "exec_1_00000002"), ("simulate", "no id"), ("simulate", "\0")]
)
def test_what_is_not_there_is_unknown(delete, records, workflow, name):
    """Also where it is another workflow's."""
    with pytest.raises(UnknownExecutionError):
        delete(workflow, name)
    assert records.get(ID).deleted_at is None
