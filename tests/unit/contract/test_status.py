"""The statuses and their transition table."""

import pytest

from wildcast.contract.status import FINAL, TRANSITIONS, ExecutionStatus


def test_every_status_has_its_row_in_the_table():
    """No status lacks a row, so a lookup never fails."""
    assert set(TRANSITIONS) == set(ExecutionStatus)


def test_the_values_are_those_of_the_wire_contract():
    """Old clients parse exactly these words."""
    words = "accepted queued running pending_results completed failed cancelled expired"
    assert {status.value for status in ExecutionStatus} == set(words.split())


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_status_leads_back_to_work_only_by_a_retry(status):
    """From an ended execution nothing runs on by itself."""
    reachable = {target for target in ExecutionStatus if status.may_become(target)}
    retry = {ExecutionStatus.QUEUED, ExecutionStatus.PENDING_RESULTS} if status is ExecutionStatus.FAILED else set()
    assert reachable - {ExecutionStatus.EXPIRED} == retry


def test_completed_is_reached_through_publishing_alone():
    """No shortcut leads to `completed`: the publication was verified first."""
    sources = {status for status in ExecutionStatus if status.may_become(ExecutionStatus.COMPLETED)}
    assert sources == {ExecutionStatus.PENDING_RESULTS}


def test_is_final_says_where_waiting_ends():
    """Exactly the four ended statuses are final."""
    assert {status for status in ExecutionStatus if status.is_final} == FINAL
