"""Workers that are heard of, and those that are not: by every implementation of the port alike."""

from dataclasses import replace

import pytest

from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.records import Records

LONG = 3600.0
"""Nobody is overdue by so much here; by minus as much, everybody is."""


def worker(name: str = "host-1", *, token: str = "t") -> WorkerRow:
    return WorkerRow(
        id=name, token=token, host="host", pid=7, instance="ab", site="cd", queues=("compute", "publish.cd")
    )


def test_a_worker_comes_back_as_it_registered(records: Records):
    """All but its heartbeat, which is by the clock of the database."""
    records.register(worker("b"))
    records.register(worker("a"))
    first, second = records.workers()
    for found, given in ((first, worker("a")), (second, worker("b"))):
        assert replace(found, started_at=given.started_at, heartbeat_at=given.heartbeat_at) == given
    assert abs((first.heartbeat_at - first.started_at).total_seconds()) < 60


def test_the_token_is_not_shown():
    """Who has it speaks for the worker."""
    assert "canary" not in repr(worker(token="canary"))


def test_who_is_heard_of_is_not_overdue(records: Records):
    """Each beat counts from then on, and says how the worker stands."""
    records.register(worker())
    before = records.workers()[0].heartbeat_at
    assert records.overdue(LONG) == []
    assert records.beat("host-1", "t", WorkerState.DRAINING)
    found = records.workers()[0]
    assert found.state is WorkerState.DRAINING
    assert found.heartbeat_at >= before


def test_who_is_not_heard_of_is_overdue(records: Records):
    """By the clock of the database: a bound that lies ahead is behind everybody."""
    records.register(worker("b"))
    records.register(worker("a"))
    assert records.overdue(-LONG) == ["a", "b"]


@pytest.mark.parametrize(("name", "token"), [("host-1", "other"), ("host-2", "t")])
def test_who_was_replaced_or_is_unknown_is_not_heard(records: Records, name: str, token: str):
    """A process whose id another one has by now learns it from its next beat."""
    records.register(worker())
    assert not records.beat(name, token, WorkerState.UP)


def test_a_lost_worker_is_told_so_and_stays_overdue(records: Records):
    """Whoever declares it lost, until its work is given to others."""
    records.register(worker())
    assert not records.declare_lost("host-1", LONG)
    assert records.beat("host-1", "t", WorkerState.UP)
    assert records.declare_lost("host-1", -LONG)
    assert not records.beat("host-1", "t", WorkerState.UP)
    assert records.overdue(LONG) == ["host-1"]
    assert records.declare_lost("host-1", LONG)
    assert not records.declare_lost("host-2", -LONG)


def test_who_registers_anew_is_up_and_not_forgotten(records: Records):
    """A worker that starts in the place of a lost one is another one."""
    records.register(worker())
    records.declare_lost("host-1", -LONG)
    records.register(worker(token="new"))
    records.forget_workers(-LONG)
    assert [(found.id, found.state) for found in records.workers()] == [("host-1", WorkerState.UP)]
    assert records.beat("host-1", "new", WorkerState.UP)


def test_a_lost_worker_is_forgotten(records: Records):
    """Once nothing of it is left."""
    records.register(worker())
    records.declare_lost("host-1", -LONG)
    records.forget_workers(LONG)
    assert len(records.workers()) == 1
    records.forget_workers(-LONG)
    assert records.workers() == []


def test_who_ends_in_order_leaves(records: Records):
    """Nobody but itself takes it out."""
    records.register(worker())
    records.leave("host-1", "other")
    assert len(records.workers()) == 1
    records.leave("host-1", "t")
    assert records.workers() == []
    assert not records.beat("host-1", "t", WorkerState.UP)


def test_who_has_left_is_looked_after_until_it_is_forgotten(records: Records):
    """It may have taken a job in its last moment; it is not lost for that."""
    records.register(worker())
    records.leave("host-1", "t")
    assert records.overdue(LONG) == ["host-1"]
    assert records.declare_lost("host-1", LONG)
    assert records.workers() == []
    records.forget_workers(LONG)
    assert records.overdue(LONG) == ["host-1"]
    records.forget_workers(-LONG)
    assert records.overdue(LONG) == []
