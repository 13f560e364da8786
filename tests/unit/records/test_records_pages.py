"""The list of executions: by every implementation of the port alike."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.records import (
    MemoryRecords,
    PageQuery,
    Records,
    SqlRecords,
    ensure_schema,
    open_engine,
    page_queries,
)
from wildcast_server.records.sql_pages import rarest_first

THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def execution(number: int, **fields: object) -> Execution:
    usual = Execution(id=f"exec_1_{number:08x}", workflow_name="w", parameters={}, created_at=THEN)
    return usual.with_changes(**fields)


def numbers(executions: list[Execution]) -> list[int]:
    return [int(found.id.rpartition("_")[2], 16) for found in executions]


def walk(records: Records, **query: object) -> list[int]:
    """Go through all pages; return the numbers of all executions."""
    found: list[int] = []
    page = records.page(PageQuery(**query))
    while True:
        assert len(page.executions) <= query.get("limit", 50)
        found += numbers(page.executions)
        if page.next is None:
            return found
        assert page.executions
        page = records.page(PageQuery(**query, before=page.next))


def test_the_newest_come_first_and_what_came_at_once_in_reverse_order(records: Records):
    """The order is of time, and of submission where the time is the same."""
    for number, hours in enumerate((0, -1, 1, 0)):
        records.insert(execution(number, created_at=THEN + timedelta(hours=hours)))
    assert numbers(records.page(PageQuery()).executions) == [2, 3, 0, 1]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_joined_are_the_whole_list(records: Records, limit: int):
    """No execution is left out or comes twice, and the last page says that it is."""
    for number in range(4):
        records.insert(execution(number))
    assert walk(records, limit=limit) == [3, 2, 1, 0]


def test_a_list_of_nothing_ends_at_once(records: Records):
    """An empty page without a next one."""
    assert records.page(PageQuery(labels={"a": "b"})) == ([], None)


def test_what_is_submitted_meanwhile_moves_nothing(records: Records):
    """A page goes on where the one before ended."""
    for number in range(4):
        records.insert(execution(number))
    first = records.page(PageQuery(limit=2))
    records.insert(execution(4, created_at=THEN + timedelta(seconds=1)))
    assert numbers(records.page(PageQuery(limit=2, before=first.next)).executions) == [1, 0]


FILTERS = [
    ({"workflow": "a"}, [4, 2, 0]),
    ({"statuses": frozenset({Status.RUNNING})}, [4, 1]),
    ({"statuses": frozenset({Status.RUNNING, Status.CANCELLED})}, [4, 2, 1]),
    ({"workflow": "a", "statuses": frozenset({Status.RUNNING})}, [4]),
    ({"owner": "bob"}, [3]),
    ({"since": THEN + timedelta(seconds=2)}, [4, 3, 2]),
    ({"until": THEN + timedelta(seconds=2)}, [1, 0]),
    ({"since": THEN + timedelta(seconds=1), "until": THEN + timedelta(seconds=3)}, [2, 1]),
    ({"labels": {"run": "x"}}, [4, 2, 1]),
    ({"labels": {"run": "x", "member": "1"}}, [4, 2]),
    ({"labels": {"run": "x", "member": "1", "third": "yes"}}, [4]),
    ({"labels": {"run": "1"}}, []),
    ({"ids": frozenset({"exec_1_00000003"})}, [3]),
    ({"ids": frozenset({"exec_1_00000001", "exec_1_00000003", "exec_2_00000001"})}, [3, 1]),
    ({"ids": frozenset({"exec_1_00000001", "exec_1_00000003"}), "workflow": "b", "labels": {"run": "x"}}, [1]),
    ({"ids": frozenset({"exec_2_00000001"})}, []),
    ({"labels": {"run": "x"}, "workflow": "a", "statuses": frozenset({Status.CANCELLED})}, [2]),
    ({"labels": {"run": "x"}, "until": THEN + timedelta(seconds=4)}, [2, 1]),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_filters_are_met_together(records: Records, query: dict, expected: list[int]):
    """Each alone, several at once, and in pages of one."""
    labels = [
        {},
        {"run": "x", "member": "2"},
        {"run": "x", "member": "1"},
        {"run": "y"},
        {"run": "x", "member": "1", "third": "yes"},
    ]
    for number, own in enumerate(labels):
        given = execution(number, workflow_name="ab"[number % 2], labels=own, owner="bob" if number == 3 else "ann")
        records.insert(given.with_changes(created_at=THEN + timedelta(seconds=number)))
    for number, status in ((1, Status.RUNNING), (2, Status.CANCELLED), (4, Status.RUNNING)):
        records.change(execution(number).id, expected=Status.QUEUED, to=status)
    assert walk(records, **query) == walk(records, **query, limit=1) == expected


def test_what_is_deleted_is_not_listed(records: Records):
    """Nor does it end a page early."""
    for number in range(3):
        records.insert(execution(number))
    records.change(execution(1).id, expected=Status.QUEUED, to=Status.FAILED)
    records.mark(execution(1).id, expected=Status.FAILED, deleted_at=utc_now())
    assert walk(records, limit=1) == [2, 0]


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"))),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, late=ROWS, limit=st.integers(1, 4), workflow=st.sampled_from([None, "a"]), label=st.booleans())
def test_pages_are_those_of_a_sorted_list(fresh, rows, late, limit, workflow, label):
    """Whatever is submitted before and while somebody goes through the pages, what was there comes once, in order."""
    query = {"workflow": workflow, "limit": limit, **({"labels": {"p": "1"}} if label else {})}
    with closing(fresh()) as records:
        for number, (seconds, name, labels) in enumerate(rows):
            records.insert(_row(number, seconds, name, labels))
        page = records.page(PageQuery(**query))
        for number, (seconds, name, labels) in enumerate(late, len(rows)):
            records.insert(_row(number, seconds + 10, name, labels))
        seen = numbers(page.executions)
        while page.next is not None:
            page = records.page(PageQuery(**query, before=page.next))
            seen += numbers(page.executions)
    fitting = [
        (seconds, number)
        for number, (seconds, name, labels) in enumerate(rows)
        if workflow in (None, name) and (not label or labels.get("p") == "1")
    ]
    assert seen == [number for _, number in sorted(fitting, reverse=True)]


def test_of_several_labels_the_rarest_is_walked_through(database_url, monkeypatch):
    """It is the one whose executions reach farthest back from the page's place, where there are fewest of them."""
    monkeypatch.setattr(page_queries, "REACH", 1)
    engine = open_engine(database_url)
    ensure_schema(engine)
    with closing(SqlRecords(engine)) as records:
        for number in range(1, 9):
            run = {"run": "r"} if number <= 5 else {}
            project = {"project": "p"} if number in (1, 5, 6, 7, 8) else {}
            records.insert(_row(number, number, "w", run | project))
        query = PageQuery(labels={"project": "p", "run": "r"})
        with engine.connect() as connection:
            assert list(rarest_first(connection, query)) == ["run", "project"]
            fifth = next(each for each in records.page(PageQuery()).executions if each.id == execution(5).id)
            later = replace(query, before=(fifth.created_at, fifth.sequence))
            assert list(rarest_first(connection, later)) == ["project", "run"]
        assert numbers(records.page(query).executions) == [5, 1]
        assert numbers(records.page(later).executions) == [1]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest) -> Callable[[], Records]:
    """Make empty records of one kind."""

    def make() -> Records:
        if request.param == "memory":
            return MemoryRecords()
        engine = open_engine(
            "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres").emptied()
        )
        ensure_schema(engine)
        return SqlRecords(engine)

    return make


def _row(number: int, seconds: int, workflow: str, labels: dict) -> Execution:
    return execution(number, workflow_name=workflow, labels=labels, created_at=THEN + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (PageQuery(), "ix_executions_created_at_sequence"),
        (PageQuery(workflow="w"), "ix_executions_workflow_name_created_at_sequence"),
        (PageQuery(statuses=frozenset({Status.FAILED})), "ix_executions_status_created_at_sequence"),
        (
            PageQuery(workflow="w", statuses=frozenset({Status.FAILED})),
            "ix_executions_workflow_name_status_created_at_sequence",
        ),
        (PageQuery(ids=frozenset({"exec_1_00000001"})), "sqlite_autoindex_executions_1"),
        (PageQuery(labels={"a": "b"}), "ix_labels_name_value_created_at_sequence"),
        (PageQuery(labels={"a": "b"}, workflow="w"), "ix_labels_name_value_created_at_sequence"),
        (PageQuery(labels={"a": "b", "c": "d"}), "sqlite_autoindex_labels_1"),
    ],
)
def test_a_page_is_found_in_an_index(tmp_path: Path, query: PageQuery, index: str):
    """SQLite says that it sorts no executions, so that a page costs the same however many there are."""
    engine = open_engine(f"sqlite:///{tmp_path / 'r.sqlite'}")
    ensure_schema(engine)
    SqlRecords(engine).insert(execution(1))
    place = SqlRecords(engine).page(PageQuery(limit=1)).executions[0]
    before = PageQuery(**{**vars(query), "before": (place.created_at, place.sequence)})
    statement = page_queries.picked(before).compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}".replace(":", r"\:")))]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step or "SCAN executions" in step for step in plan), plan
    engine.dispose()
