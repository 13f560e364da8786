"""Publications that wait, open, for who finishes them in this process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.usecases.publication import Kept

S = ExecutionStatus


@dataclass
class Ongoing:
    """Counts how often it is closed."""

    closed: int = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def execution() -> Execution:
    """One that has just been computed."""
    made = Execution(id="exec_1_00000001", workflow_name="w", parameters={})
    return made.with_changes(status=S.RUNNING, attempt=2)


def test_where_another_process_publishes_nothing_is_kept(execution: Execution):
    """It is closed at once; its ledger tells the other one."""
    kept, ongoing = Kept(most=0), Ongoing()
    kept.put(execution, ongoing)
    assert ongoing.closed == 1
    assert kept.take(execution) is None


@pytest.mark.parametrize(
    ("change", "closed"),
    [
        (lambda one: one, False),
        (lambda one: one.with_changes(status=S.PENDING_RESULTS), False),
        (lambda one: one.with_changes(status=S.PENDING_RESULTS, tries=1), True),
        (lambda one: one.with_changes(status=S.RUNNING, attempt=3), True),
        (lambda one: one.with_changes(status=S.RUNNING, place=2), True),
        (lambda one: one.with_changes(status=S.COMPLETED), True),
        (lambda one: one.with_changes(status=S.CANCELLED), True),
        (None, True),
    ],
)
def test_what_others_have_taken_is_closed(
    execution: Execution, change: Callable[[Execution], Execution] | None, *, closed: bool
):
    """One that waits to be published in its attempt, or to be handed over, stays."""
    kept, ongoing = Kept(), Ongoing()
    kept.put(execution, ongoing)

    def current(execution_id: str) -> Execution:
        if change is None:
            raise UnknownExecutionError(execution_id)
        return change(execution)

    kept.close_taken(current)

    assert ongoing.closed == closed
    assert (kept.take(execution) is None) == closed


def test_of_many_the_oldest_are_closed(execution: Execution):
    """As many as may be kept stay."""
    kept, every = Kept(most=2), [Ongoing() for _ in range(4)]
    for number, each in enumerate(every):
        kept.put(execution.with_changes(attempt=number + 1), each)
    assert [each.closed for each in every] == [1, 1, 0, 0]
