"""Where executions stand."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.usecases.lookup import Lookup, whole_progress


def test_positions_are_counted_from_zero_and_only_while_queued(records, bring_to):
    """The first that waits has none before it; what runs has no position."""
    for number, status in enumerate((Status.RUNNING, Status.QUEUED, Status.QUEUED)):
        bring_to(f"exec_1_0000000{number}", status)
    lookup = Lookup(records)
    assert [lookup.status("simulate", f"exec_1_0000000{n}").position for n in range(3)] == [None, 0, 1]


def test_an_id_is_looked_up_within_its_workflow(records, bring_to):
    """Of another workflow it is as unknown as one that does not exist."""
    execution = bring_to("exec_1_00000001", Status.RUNNING)
    lookup = Lookup(records)
    assert lookup.execution("simulate", execution.id) == execution
    for workflow, name in (("other", execution.id), ("simulate", "exec_1_00000002")):
        with pytest.raises(UnknownExecutionError, match=name):
            lookup.status(workflow, name)


def test_a_failure_says_why_and_when(records, bring_to):
    """Reason and end are in the status."""
    status = Lookup(records).status("simulate", bring_to("exec_1_00000001", Status.FAILED).id)
    assert (status.status, status.error_message) == (Status.FAILED, "it did not converge")


def test_progress_has_all_members_that_clients_expect():
    """What was not reported is null, a workflow's own fields stay, and no progress at all is null."""
    assert whole_progress(None) is None
    assert whole_progress({"current_step": 2, "loss": 0.1}) == {
        "progress": None,
        "current_step": 2,
        "total_steps": None,
        "loss": 0.1,
    }


def test_what_a_workflow_reports_as_metadata_is_shown_beside_what_is_recorded(records, bring_to):
    """Parameters and the workflow's own metadata are there, and what is recorded cannot be replaced."""
    execution = bring_to("exec_1_00000001", Status.RUNNING)
    own = {"summary": "half", "attempt": 99}
    records.set_progress(execution.id, execution.attempt, {"progress": "x", "metadata": own})
    metadata = Lookup(records).status("simulate", execution.id).metadata
    assert (metadata["summary"], metadata["attempt"]) == ("half", 1)
    assert metadata["parameters"] == execution.parameters


def test_metadata_of_another_form_stays_in_the_progress_alone(records, bring_to):
    """A workflow may report anything under that name."""
    execution = bring_to("exec_1_00000001", Status.RUNNING)
    records.set_progress(execution.id, execution.attempt, {"metadata": [1]})
    status = Lookup(records).status("simulate", execution.id)
    assert status.progress["metadata"] == [1]
    assert "attempt" in status.metadata
