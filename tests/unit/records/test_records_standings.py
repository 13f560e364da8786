"""Looking many executions up at once, and counting: by every implementation of the port alike."""

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now


def inserted(records, number):
    ids = [f"exec_1_{each:08x}" for each in range(number)]
    for name in ids:
        records.insert(Execution(id=name, workflow_name="w", parameters={"a": [1]}))
    return ids


def test_many_at_once_are_what_each_is_alone(records):
    """Executions and positions; what does not wait has none."""
    ids = inserted(records, 6)
    for name in (ids[0], ids[3]):
        records.change(name, expected=Status.QUEUED, to=Status.RUNNING, started_at=utc_now())
    found = records.standings(ids)
    assert found == {name: (records.get(name), records.queue_position(name)) for name in ids}
    assert [found[name].position for name in ids] == [None, 0, 1, None, 2, 3]


def test_the_position_counts_those_that_were_not_asked_for(records):
    """It is a place in the whole queue."""
    ids = inserted(records, 5)
    assert [found.position for found in records.standings([ids[4], ids[2]]).values()] in ([4, 2], [2, 4])
    assert records.standings(ids[3:4])[ids[3]].position == 3


def test_an_id_that_there_is_not_is_left_out(records):
    """Also when it is the only one, and when none was asked for."""
    (name,) = inserted(records, 1)
    assert records.standings([name, "exec_2_00000000"]).keys() == {name}
    assert records.standings(["exec_2_00000000"]) == {}
    assert records.standings([]) == {}


def test_what_is_not_final_is_counted_by_status(records):
    """Each of the three has its number, and what has ended none."""
    assert records.unfinished_counts() == {Status.QUEUED: 0, Status.RUNNING: 0, Status.PENDING_RESULTS: 0}
    ids = inserted(records, 4)
    records.change(ids[0], expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ids[1], expected=Status.QUEUED, to=Status.FAILED)
    assert records.unfinished_counts() == {Status.QUEUED: 2, Status.RUNNING: 1, Status.PENDING_RESULTS: 0}
