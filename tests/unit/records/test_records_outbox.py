"""Expiry, deliveries, removals and forgetting: by every implementation of the port alike."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import NewDelivery, NewRemoval
from wildcast_server.errors import ServiceUnavailableError, StatusConflictError
from wildcast_server.records import Effects, Records, SqlRecords, ensure_schema, open_engine

S = ExecutionStatus
FINAL = (S.FAILED, S.CANCELLED, S.EXPIRED)
LATER = timedelta(hours=1)


def submit(records: Records, number: int = 1, **fields: object) -> str:
    given = Execution(id=f"exec_1_{number:08x}", workflow_name="w", parameters={}).with_changes(**fields)
    return records.insert(given, key=f"k{number}").execution.id


def fail(records: Records, name: str, **changes: object) -> Execution:
    return records.change(name, expected=S.QUEUED, to=S.FAILED, **changes)


def removal(name: str, **fields: object) -> NewRemoval:
    usual = {"attempt": 1, "storage_type": "s3", "name": name, "prefix": f"outputs/{name}", "reason": "failed"}
    return NewRemoval(execution_id=name, **{**usual, **fields})


def delivery(url: str = "https://h/canary") -> NewDelivery:
    return NewDelivery(event="failed", url=url, body='{"a": 1}')


def with_removals(*wanted: NewRemoval) -> Effects:
    return Effects(removals=wanted)


def due_removals(records: Records, now: datetime | None = None, **options: object) -> list:
    return records.due_removals(now or utc_now(), **{"site": None, "lease_seconds": 60, "limit": 9, **options})


def due_deliveries(records: Records, now: datetime | None = None, **options: object) -> list:
    return records.due_deliveries(now or utc_now(), **{"lease_seconds": 60, "limit": 9, **options})


def test_what_follows_from_a_change_is_recorded_with_it(records: Records):
    """Deliveries and removals come out as they went in."""
    name = submit(records)
    wanted = removal(name, site="disk", committed=True, prefix=None, attempt=3, storage_type="server")
    fail(records, name, effects=Effects(deliveries=[delivery()], removals=[wanted]))
    (told,), (gone,) = due_deliveries(records), due_removals(records, site="disk")
    assert (told.execution_id, told.event, told.url, told.body, told.tries) == (
        name, "failed", "https://h/canary", '{"a": 1}', 1
    )  # fmt: skip
    assert (gone.execution_id, gone.attempt, gone.storage_type, gone.name) == (name, 3, "server", name)
    assert (gone.prefix, gone.site, gone.committed, gone.reason, gone.tries) == (None, "disk", True, "failed", 1)
    assert "canary" not in f"{told!r}{delivery()!r}{records.deliveries(name)!r}"


def test_what_is_done_within_sees_the_change(records: Records):
    """It is given the execution as it is then."""
    seen: list[Execution] = []
    name = submit(records)
    changed = fail(records, name, effects=Effects(within=lambda given, _connection: seen.append(given)))
    assert seen == [changed]


def test_what_fails_within_undoes_the_change(records: Records):
    """Status, deliveries and removals."""

    def refuse(_execution: Execution, _connection: object) -> None:
        raise ServiceUnavailableError("away")

    name = submit(records)
    effects = Effects(within=refuse, deliveries=[delivery()], removals=[removal(name)])
    with pytest.raises(ServiceUnavailableError):
        fail(records, name, effects=effects)
    assert records.get(name).status is S.QUEUED
    assert records.deliveries(name) == due_removals(records) == []


def test_nothing_follows_from_a_change_that_is_refused(records: Records):
    """Who comes second tells nobody and removes nothing."""
    name = submit(records)
    fail(records, name)
    with pytest.raises(StatusConflictError):
        fail(records, name, effects=Effects(deliveries=[delivery()], removals=[removal(name)]))
    assert records.deliveries(name) == due_removals(records) == []


def test_marks_have_effects_too(records: Records):
    """A deletion and its removal are one transaction."""
    name = submit(records)
    fail(records, name)
    records.mark(name, expected=S.FAILED, deleted_at=utc_now(), effects=with_removals(removal(name)))
    assert [found.execution_id for found in due_removals(records)] == [name]


def test_what_is_claimed_is_given_to_nobody_else_until_its_lease_ends(records: Records):
    """Then it is due again, one try further."""
    name = submit(records)
    fail(records, name, effects=Effects(deliveries=[delivery()], removals=[removal(name)]))
    assert [found.tries for found in due_removals(records)] == [found.tries for found in due_deliveries(records)] == [1]
    assert due_removals(records) == due_deliveries(records) == []
    later = utc_now() + timedelta(seconds=61)
    assert [found.tries for found in due_removals(records, later)] == [2]
    assert [found.tries for found in due_deliveries(records, later)] == [2]


def test_no_more_is_claimed_than_asked_for_the_oldest_first(records: Records):
    """The rest is for the next one who asks."""
    name = submit(records)
    fail(records, name, effects=with_removals(*(removal(name, attempt=number) for number in range(3))))
    assert [found.attempt for found in due_removals(records, limit=2)] == [0, 1]
    assert [found.attempt for found in due_removals(records, limit=2)] == [2]


def test_a_removal_of_a_disk_is_for_who_has_it(records: Records):
    """What has no disk is for everybody."""
    name = submit(records)
    fail(records, name, effects=with_removals(*(removal(name, site=site) for site in ("a", "b", None))))
    assert [found.site for found in records.open_removals(site="b", limit=9)] == ["b", None]
    assert [found.site for found in due_removals(records, site="a")] == ["a", None]
    assert [found.site for found in due_removals(records, site=None)] == []
    assert [found.site for found in due_removals(records, site="b")] == ["b"]


def test_a_removal_that_is_done_is_not_due_again(records: Records):
    """Nor one that was given up; one that failed is when it was said."""
    name = submit(records)
    fail(records, name, effects=with_removals(*(removal(name, attempt=number) for number in range(3))))
    done, given_up, failed = (found.id for found in due_removals(records))
    records.removed(done)
    records.removal_failed(given_up, "no", None)
    records.removal_failed(failed, "not\0 yet", utc_now() + LATER)
    assert [found.id for found in records.open_removals(site=None, limit=9)] == [failed]
    assert due_removals(records, utc_now() + LATER - timedelta(minutes=1)) == []
    assert [found.id for found in due_removals(records, utc_now() + LATER)] == [failed]


def test_deliveries_are_logged(records: Records):
    """What was answered, when, and what went wrong."""
    name = submit(records)
    fail(records, name, effects=Effects(deliveries=[delivery("https://a"), delivery("https://b")]))
    good, bad = (found.id for found in due_deliveries(records))
    at = utc_now()
    records.delivery_failed(good, "first", status=503, next_try_at=at)
    assert [found.id for found in due_deliveries(records)] == [good]
    records.delivered(good, status=204, at=at)
    records.delivery_failed(bad, "no answer", status=None, next_try_at=None)
    first, second = records.deliveries(name)
    assert (first.url, first.delivered_at, first.last_status, first.last_error) == ("https://a", at, 204, None)
    assert (first.tries, first.next_try_at) == (2, None)
    assert (second.delivered_at, second.last_status, second.last_error) == (None, None, "no answer")
    assert (second.tries, second.next_try_at) == (1, None)
    assert due_deliveries(records, utc_now() + LATER) == records.deliveries("exec_9") == []


def expire(records: Records, now: datetime, limit: int = 9) -> list[str]:
    found = records.expire(now, limit=limit, effects=lambda given: with_removals(removal(given.id)))
    assert all(execution.status is S.EXPIRED for execution in found)
    return [execution.id for execution in found]


def test_results_expire_when_their_time_has_come(records: Records):
    """Not a moment before; their removal is recorded with it."""
    now = utc_now()
    for number in range(3):
        fail(records, submit(records, number), expires_at=now + timedelta(seconds=number))
    fail(records, submit(records, 3))
    before = records.get("exec_1_00000001").version
    assert [found.id for found in records.expirable(now, limit=9)] == ["exec_1_00000000"]
    assert expire(records, now) == ["exec_1_00000000"]
    assert expire(records, now) == []
    assert expire(records, now + LATER) == ["exec_1_00000001", "exec_1_00000002"]
    assert records.get("exec_1_00000001").version == before + 1
    assert [found.execution_id for found in due_removals(records)] == [f"exec_1_{number:08x}" for number in range(3)]


def test_the_oldest_results_expire_first(records: Records):
    """So many at a time as asked for."""
    now = utc_now()
    for number in range(3):
        fail(records, submit(records, number), expires_at=now - timedelta(seconds=number))
    assert expire(records, now, limit=2) == ["exec_1_00000002", "exec_1_00000001"]


def test_what_is_pinned_deleted_or_has_not_ended_does_not_expire(records: Records):
    """Nor what is tried again; unpinned, it does."""
    now = utc_now()
    for number in range(4):
        submit(records, number, expires_at=now - LATER)
    for number in range(3):
        fail(records, f"exec_1_{number:08x}")
    records.mark("exec_1_00000000", expected=S.FAILED, pinned=True)
    records.mark("exec_1_00000001", expected=S.FAILED, deleted_at=now)
    records.change("exec_1_00000002", expected=S.FAILED, to=S.QUEUED)
    assert expire(records, now) == []
    records.mark("exec_1_00000000", expected=S.FAILED, pinned=False)
    assert expire(records, now) == ["exec_1_00000000"]


def test_what_fails_while_results_expire_undoes_it(records: Records):
    """All that would have expired together."""
    now = utc_now()
    fail(records, submit(records), expires_at=now)

    def refuse(_execution: Execution) -> Effects:
        raise ServiceUnavailableError("away")

    with pytest.raises(ServiceUnavailableError):
        records.expire(now, limit=9, effects=refuse)
    assert records.get("exec_1_00000001").status is S.FAILED


def test_what_is_expired_or_deleted_is_forgotten_once_it_is_removed(records: Records):
    """Not before its time, and nothing else is, whoever asks for it."""
    now = utc_now()
    for number in range(3):
        fail(
            records, submit(records, number, labels={"a": "b"}), ended_at=now, effects=Effects(deliveries=[delivery()])
        )
    expired, deleted, kept = (f"exec_1_{number:08x}" for number in range(3))
    records.change(expired, expected=S.FAILED, to=S.EXPIRED, effects=with_removals(removal(expired)))
    records.mark(deleted, expected=S.FAILED, deleted_at=now)
    assert [found.id for found in records.prunable(now + LATER, limit=9)] == [deleted]
    records.removed(due_removals(records)[0].id)
    assert records.prunable(now, limit=9) == []
    assert [found.id for found in records.prunable(now + LATER, limit=9)] == [expired, deleted]
    assert records.prune([expired, deleted, kept, "exec_9"]) == 2
    assert records.standings([expired, kept]).keys() == {kept}
    assert records.deliveries(expired) == []
    assert records.insert(Execution(id=expired, workflow_name="w", parameters={}), key="k0").is_new
    assert records.prune([]) == 0


def test_a_removal_outlives_its_execution(records: Records):
    """What is still to be removed is not forgotten with it."""
    name = submit(records)
    fail(records, name, effects=with_removals(removal(name)))
    records.mark(name, expected=S.FAILED, deleted_at=utc_now())
    assert records.prune([name]) == 1
    assert [found.execution_id for found in due_removals(records)] == [name]


@pytest.mark.parametrize(
    ("ask", "indexes"),
    [
        (lambda records: records.expirable(utc_now(), limit=9), {"ix_executions_expires_at"}),
        (
            lambda records: records.prunable(utc_now(), limit=9),
            {"ix_executions_status_", "ix_executions_deleted_at"},
        ),
        (due_removals, {"ix_removals_next_try_at"}),
        (due_deliveries, {"ix_deliveries_next_try_at"}),
    ],
)
def test_what_is_due_is_found_in_an_index(ask: Callable[[Records], object], indexes: set[str]):
    """SQLite says that looking for it goes through nothing that has been done, or is kept."""
    engine = open_engine("sqlite://")
    ensure_schema(engine)
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, values, *_: asked.append((text, values)))
    ask(SqlRecords(engine))
    # The begin of its transaction is a statement too.
    ((statement, values),) = [(text, values) for text, values in asked if text.startswith("SELECT")]
    with engine.connect() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert not [step for step in plan if step.startswith("SCAN")], plan
    assert all(any(index in step for step in plan) for index in indexes), plan
    engine.dispose()


def test_what_nobody_comes_for_is_given_up(records: Records):
    """Of other sites alone, and only what was due long ago; what anybody can do is still to be done."""
    name = submit(records)
    wanted = [removal(name, site=site) for site in ("gone", "here", None)]
    fail(records, name, effects=with_removals(*wanted))
    assert records.give_up_removals(utc_now() - LATER, "nobody came", site="here") == 0
    assert records.give_up_removals(utc_now() + LATER, "nobody came", site="here") == 1
    left = [records.open_removals(site=site, limit=9) for site in ("gone", "here")]
    assert [[each.site for each in some] for some in left] == [[None], ["here", None]]
