"""Listing executions."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import workflow
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import UnknownWorkflowError
from wildcast_server.records import PageQuery, Position
from wildcast_server.usecases.listing import ListExecutions


@pytest.fixture
def listing(records):
    """The use case, with one exposed workflow."""
    registry = Registry()

    @workflow
    def simulate(n: int = 1) -> None:
        """Count."""

    registry.add(simulate)
    return ListExecutions(registry, records)


def add(records, number, name="simulate"):
    return records.insert(Execution(id=f"exec_1_{number:08x}", workflow_name=name, parameters={})).execution


def test_what_waits_has_its_position(listing, records):
    """The newest first, and what runs has none."""
    first, second, third = (add(records, number) for number in range(3))
    records.change(first.id, expected=Status.QUEUED, to=Status.RUNNING)
    standings = listing(PageQuery()).standings
    assert [(each.execution.id, each.position) for each in standings] == [
        (third.id, 1),
        (second.id, 0),
        (first.id, None),
    ]


def test_what_begins_between_the_page_and_its_positions_has_none(listing, records):
    """An execution and its position are of one moment."""
    execution = add(records, 1)
    original = records.standings

    def late(names):
        records.change(execution.id, expected=Status.QUEUED, to=Status.RUNNING)
        return original(names)

    records.standings = late
    (standing,) = listing(PageQuery()).standings
    assert (standing.execution.status, standing.position) == (Status.RUNNING, None)


def test_a_page_of_what_has_ended_asks_for_no_positions(listing, records):
    """One query does."""
    execution = add(records, 1)
    records.change(execution.id, expected=Status.QUEUED, to=Status.FAILED)
    records.standings = None
    assert len(listing(PageQuery()).standings) == 1


def test_a_workflow_that_there_is_not_is_unknown(listing, records):
    """Unless it has executions, from a time when it was exposed; an exposed one may have none."""
    add(records, 1, "gone")
    assert len(listing(PageQuery(workflow="gone")).standings) == 1
    assert listing(PageQuery(workflow="simulate")).standings == []
    with pytest.raises(UnknownWorkflowError, match="missing"):
        listing(PageQuery(workflow="missing"))


def test_the_end_of_a_list_is_no_unknown_workflow(listing, records):
    """A page may be empty because the last one was the last."""
    execution = add(records, 1, "gone")
    query = PageQuery(workflow="gone", before=Position(execution.created_at, execution.sequence))
    assert listing(query).standings == []
