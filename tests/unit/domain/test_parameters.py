"""Parameters on their way from a request to the record and to the runner."""

import json
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field, SecretStr, computed_field, field_validator

from wildcast_server import Workflow
from wildcast_server.domain.parameters import restore, to_json, validate
from wildcast_server.errors import InvalidParametersError, WorkflowError


class Mode(Enum):
    """Some choices."""

    FAST = "fast"
    GOOD = "good"


class Inner(BaseModel):
    """A part."""

    level: int = 0


def with_model(model):
    return type("Sample", (Workflow,), {"name": "sample", "Parameters": model, "run": lambda *_: None})


class Everything(BaseModel):
    """One of each."""

    start: datetime
    step: timedelta = timedelta(hours=6)
    levels: list[int] = []
    names: set[str] = set()
    window: tuple[float, float] | None = None
    mode: Mode = Mode.GOOD
    where: Path = Path("a")
    inner: Inner = Inner()
    by_name: dict[str, float] = {}
    t0: int = Field(0, alias="T0")
    t1: int = Field(0, validation_alias=AliasChoices("T1", "first"))

    @computed_field
    @property
    def count(self) -> int:
        """How many levels."""
        return len(self.levels)


WORKFLOW = with_model(Everything)


@given(
    start=st.datetimes(timezones=st.just(UTC)),
    step=st.timedeltas(timedelta(0), timedelta(days=900)),
    levels=st.lists(st.integers(-(2**70), 2**70)),
    names=st.sets(st.text(st.characters(codec="utf-8"))),
    by_name=st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_the_record_restores_the_parameters(start, step, levels, names, by_name):
    """What is recorded as JSON is, in the runner, what was validated at submission."""
    raw = {"start": start, "step": step, "levels": levels, "names": names, "by_name": by_name, "T0": 5, "first": 6}
    parameters = validate(WORKFLOW, raw)
    recorded = json.loads(json.dumps(to_json(parameters)))
    assert restore(WORKFLOW, recorded) == parameters
    assert recorded["T0"] == 5


def test_every_bad_field_is_named():
    """Each field that is wrong has an entry with its path, and its value is not repeated."""
    with pytest.raises(InvalidParametersError) as caught:
        validate(WORKFLOW, {"start": "canary", "inner": {"level": "canary"}, "extra": "canary"})
    assert [entry["field"] for entry in caught.value.fields] == ["start", "inner.level", "extra"]
    assert all(set(entry) == {"field", "message", "type"} for entry in caught.value.fields)
    assert "canary" not in f"{caught.value} {caught.value.fields} {caught.value.__cause__}"
    assert "inner.level" in str(caught.value)


@pytest.mark.parametrize("raw", [{1, 2}, [1], "text", {"start": object()}, {"start": "\ud800"}])
def test_what_is_no_json_object_is_refused(raw):
    """Parameters that no request could hold are refused in the same way."""
    with pytest.raises(InvalidParametersError, match="sample"):
        validate(WORKFLOW, raw)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_refused(number):
    """A NaN or infinity is named, and only its field."""

    class Model(BaseModel):
        good: int = 1
        bad: float

    with pytest.raises(InvalidParametersError) as caught:
        to_json(validate(with_model(Model), {"bad": number}))
    assert [entry["field"] for entry in caught.value.fields] == ["bad"]


def test_a_hidden_value_is_refused():
    """A secret that would be recorded as asterisks would not reach the workflow."""

    class Model(BaseModel):
        token: SecretStr

    with pytest.raises(InvalidParametersError, match="token") as caught:
        to_json(validate(with_model(Model), {"token": "canary"}))
    assert "canary" not in str(caught.value)


def test_a_field_that_is_left_out_is_refused():
    """A field excluded from serialisation would silently fall back to its default."""

    class Model(BaseModel):
        n: int = Field(0, exclude=True)

    with pytest.raises(InvalidParametersError, match="n:"):
        to_json(validate(with_model(Model), {"n": 3}))


def test_a_default_of_another_kind_is_recorded():
    """A default that its model would not take as it stands, a tuple for a list, is no reason to refuse a request."""

    class Model(BaseModel):
        variables: list[str] = ("t2m", "u10m")  # type: ignore[assignment]
        weights: Path = "weights.bin"  # type: ignore[assignment]

    parameters = validate(with_model(Model), {})
    assert to_json(parameters) == {"variables": ["t2m", "u10m"], "weights": "weights.bin"}


@pytest.mark.parametrize("error", [RuntimeError("no table"), SystemExit(3), KeyError("x")])
def test_a_validator_that_breaks_is_the_workflows_fault(error):
    """Whatever a workflow's own validator raises, the sentence names the workflow."""

    class Model(BaseModel):
        level: int

        @field_validator("level")
        @classmethod
        def _look_up(cls, _value: int) -> int:
            raise error

    with pytest.raises(WorkflowError, match=f"'sample' could not check its parameters: {type(error).__name__}"):
        validate(with_model(Model), {"level": 1})
