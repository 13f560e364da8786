"""What a request may hold: the fields' own rules, then the workflow's `validate_parameters`."""

import pytest

from wildcast_server.domain.parameters import restore, to_json, validate
from wildcast_server.errors import InvalidParametersError

CHECKED = """
from datetime import datetime

from earth2studio.serve.server import Workflow, WorkflowParameters, workflow_registry


class Parameters(WorkflowParameters):
    forecast_times: list[str] = ["2024-01-01T00:00:00"]
    start_time: datetime | list[datetime] | None = None
    place: str = "Oslo"


@workflow_registry.register
class Checked(Workflow):
    name = "checked"
    Parameters = Parameters

    @classmethod
    def validate_parameters(cls, parameters):
        if parameters.get("place") == "":
            raise KeyError("place")
        made = Parameters.validate(parameters)
        if made.place == "Atlantis":
            raise ValueError("Atlantis is under water")
        made.place = made.place.title()
        return made

    def run(self, parameters, execution_id):
        self.update_execution_data(execution_id, {"kind": type(parameters).__name__, **parameters})
"""


@pytest.fixture
def checked(load_one):
    """Load a workflow that checks and tidies its parameters."""
    return load_one(CHECKED)


def refusal(workflow, **parameters) -> InvalidParametersError:
    with pytest.raises(InvalidParametersError) as caught:
        validate(workflow, parameters)
    return caught.value


@pytest.mark.parametrize(
    "time", ["2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2024-01-01 06:00", "2024-01-01T00:00:00.5+02:00"]
)
@pytest.mark.parametrize("field", ["forecast_times", "start_time"])
def test_times_with_a_time_of_day_are_taken(checked, field, time):
    """ISO 8601 with T or a space, with and without a zone."""
    assert validate(checked, {field: [time]})


@pytest.mark.parametrize("time", ["2024-01-01", "yesterday at noon", "T", 1704067200, True])
@pytest.mark.parametrize("field", ["forecast_times", "start_time"])
def test_other_times_are_refused_by_their_place(checked, field, time):
    """A bare date, a number or other text names the field and which of its entries it is."""
    error = refusal(checked, **{field: ["2024-01-01T00:00:00", time]})
    assert error.fields[0]["field"] == field
    assert f"{field}[1] is no ISO 8601 date with a time of day" in error.fields[0]["message"]


def test_one_time_need_not_be_a_list(checked):
    """Where the field takes one time, one is checked alike."""
    assert validate(checked, {"start_time": "2024-01-01T00:00:00"})
    assert validate(checked, {"start_time": None})
    assert "start_time[0]" in refusal(checked, start_time="2024-01-01").fields[0]["message"]


def test_an_unknown_field_is_refused(checked):
    """A misspelt parameter is an error and not dropped."""
    assert refusal(checked, plaice="Oslo").fields[0]["type"] == "extra_forbidden"


def test_the_workflows_own_check_refuses(checked):
    """What `validate_parameters` raises is what the caller reads."""
    assert "Atlantis is under water" in str(refusal(checked, place="Atlantis"))


def test_a_check_that_breaks_is_a_refusal_too(checked):
    """Any exception of `validate_parameters` is told with its type; nothing else is harmed."""
    assert "Checked.validate_parameters raised KeyError: 'place'" in str(refusal(checked, place=""))


def test_what_the_check_returns_is_recorded_and_run(checked, run_here):
    """Values that `validate_parameters` changes are those of the record and of the run, which gets a dict."""
    recorded = to_json(validate(checked, {"place": "new york"}))
    assert recorded["place"] == "New York"
    assert restore(checked, recorded).place == "New York"
    _, [progress] = run_here(checked, **recorded)
    assert (progress["kind"], progress["place"]) == ("dict", "New York")


def test_a_check_that_needs_an_instance_waits_for_the_run(load_one, run_here):
    """Where `validate_parameters` is no classmethod, a request is checked against the fields alone."""
    workflow = load_one(CHECKED.replace("    @classmethod\n", "").replace("(cls, parameters)", "(self, parameters)"))
    assert validate(workflow, {"place": "Atlantis"})
    assert refusal(workflow, place=3).fields[0]["field"] == "place"
    assert run_here(workflow, place="here")[1][0]["place"] == "here"


def test_a_check_that_returns_nothing_is_a_refusal(load_one):
    """A `validate_parameters` without its return says so."""
    workflow = load_one(CHECKED.replace("return made", "return None"))
    assert "returned a NoneType and no parameters" in str(refusal(workflow))


def test_validate_checks_again_what_was_changed(load_one):
    """`Parameters.validate` takes a mapping or parameters that may have been changed, and nothing else."""
    model = load_one(CHECKED).adapted.Parameters
    changed = model.validate({"place": "Oslo"})
    assert model.validate(changed) == changed
    changed.place = 3
    with pytest.raises(ValueError, match="place"):
        model.validate(changed)
    with pytest.raises(ValueError, match="give a mapping or a Parameters, not a list"):
        model.validate([])
