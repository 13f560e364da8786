"""Parameters of every kind that JSON can carry: what they may look like, and that the record restores them."""

import inspect
import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field, NaiveDatetime, TypeAdapter, create_model

from wildcast_server import Workflow, workflow
from wildcast_server.domain.functions import from_function
from wildcast_server.domain.parameters import restore, to_json, validate
from wildcast_server.errors import InvalidParametersError


class Colour(Enum):
    """By value."""

    RED = "red"
    DEEP = 7


class Level(IntEnum):
    """A number."""

    LOW = 1
    HIGH = 2


class Scheme(StrEnum):
    """A word."""

    EULER = "euler"
    LEAPFROG = "leapfrog"


class Box(BaseModel):
    """A nested model."""

    kind: Literal["box"] = "box"
    south: float = -90
    times: list[datetime] = []


class Point(BaseModel):
    """Another, told apart by its kind."""

    kind: Literal["point"] = "point"
    latitude: float = 0
    inner: Box | None = None


Area = Annotated[Box | Point, Field(discriminator="kind")]

text = st.text(st.characters(codec="utf-8"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
moments = st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - the zones are drawn
# Clocks as JSON has them: pydantic reads offsets of whole minutes.
clocks = st.times(timezones=zones)
durations = st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))
boxes = st.builds(Box, south=finite, times=st.lists(moments, max_size=3))
areas = st.one_of(boxes, st.builds(Point, latitude=finite, inner=st.none() | boxes))

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "boolean": (bool, st.booleans()),
    "integer": (int, st.integers()),
    "number": (float, finite),
    "text": (str, text),
    "nothing": (int | None, st.none() | st.integers()),
    "decimal": (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    "uuid": (UUID, st.uuids()),
    "datetime": (datetime, moments),
    "date": (date, st.dates(date(1000, 1, 1))),
    "time": (time, clocks),
    "timedelta": (timedelta, durations),
    "datetimes": (list[datetime], st.lists(moments, max_size=5)),
    "timedeltas": (list[timedelta], st.lists(durations, max_size=5)),
    "enumeration": (Colour, st.sampled_from(Colour)),
    "numbers that are named": (Level, st.sampled_from(Level)),
    "words that are named": (Scheme, st.sampled_from(Scheme)),
    "literal": (Literal["a", 1, True] | None, st.sampled_from(["a", 1, None])),
    "union": (int | str | list[float], st.one_of(st.integers(), text, st.lists(finite, max_size=3))),
    "moment or word": (datetime | str, moments | text),
    "tuple": (tuple[int, str, datetime], st.tuples(st.integers(), text, moments)),
    "set": (frozenset[int], st.frozensets(st.integers(), max_size=5)),
    "mapping": (dict[str, list[datetime]], st.dictionaries(text, st.lists(moments, max_size=2), max_size=3)),
    "numbered mapping": (dict[int, timedelta], st.dictionaries(st.integers(), durations, max_size=3)),
    "nested": (Point, st.builds(Point, latitude=finite, inner=st.none() | boxes)),
    "told apart": (list[Area], st.lists(areas, max_size=3)),
    "anything": (Any, st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists, max_leaves=5)),
}


def accepting(hint: Any) -> type[Workflow]:
    model = create_model("Parameters", value=(hint, ...))
    return type("Sample", (Workflow,), {"name": "sample", "Parameters": model, "run": lambda *_: None})


def given_as(hint: Any, raw: Any) -> Any:
    return validate(accepting(hint), {"value": raw}).value


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_record_restores_every_kind(kind: str, data: st.DataObject):
    """What a request's JSON comes to is, after the record's JSON, the same value of the same type and zone."""
    hint, values = KINDS[kind]
    cls = accepting(hint)
    raw = json.loads(TypeAdapter(hint).dump_json(data.draw(values)))
    parameters = validate(cls, {"value": raw})
    again = restore(cls, json.loads(json.dumps(to_json(parameters))))
    assert again == parameters
    if kind != "set":  # whose order is nobody's
        assert repr(again) == repr(parameters)


@given(value=st.sampled_from(list(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), KINDS[kind][1])))
def test_pythons_own_values_do_as_well(value):
    """A caller in Python may give dates and models as they are."""
    kind, given_value = value
    cls = accepting(KINDS[kind][0])
    parameters = validate(cls, {"value": given_value})
    assert restore(cls, to_json(parameters)) == parameters


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02 03:04:05+00:00", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05+05:30", "2026-01-02T03:04:05+05:30"),
        ("2026-01-02T03:04:05-0800", "2026-01-02T03:04:05-08:00"),
        ("2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:05.678901+00:00"),
        ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500000"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00"),
        ("2026-01-02", "2026-01-02T00:00:00"),
    ],
)
def test_a_moment_may_be_written_in_many_ways(raw: str, expected: str):
    """A zone that is given is kept, and none is made up where there is none."""
    assert given_as(datetime, raw).isoformat() == expected
    assert [moment.isoformat() for moment in given_as(list[datetime], [raw, raw])] == [expected] * 2


@pytest.mark.parametrize("raw", ["yesterday", "2026-13-01", "2026-01-02T25:00", "", None, True, []])
def test_what_is_no_moment_is_refused(raw: object):
    """The field is named."""
    with pytest.raises(InvalidParametersError, match="value:"):
        given_as(datetime, raw)


def test_a_workflow_may_insist_on_a_zone_or_on_none():
    """Pydantic's types say which; the other one is refused."""
    assert given_as(AwareDatetime, "2026-01-02T00:00Z").tzinfo is not None
    assert given_as(NaiveDatetime, "2026-01-02").tzinfo is None
    for hint, raw in ((AwareDatetime, "2026-01-02"), (NaiveDatetime, "2026-01-02T00:00Z")):
        with pytest.raises(InvalidParametersError):
            given_as(hint, raw)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("PT6H", 21_600),
        ("P1DT2H3M4.5S", 93_784.5),
        ("-PT30M", -1_800),
        ("06:00:00", 21_600),
        ("1 day, 02:00:00", 93_600),
        (21_600, 21_600),
        (21_600.0, 21_600),
        (0.25, 0.25),
        (-60.0, -60),
    ],
)
def test_a_duration_is_iso_8601_or_seconds(raw: object, seconds: float):
    """Older clients send `total_seconds()`."""
    assert given_as(timedelta, raw) == timedelta(seconds=seconds)
    assert given_as(list[timedelta], [raw]) == [timedelta(seconds=seconds)]


def test_the_schema_tells_every_kind():
    """What clients read has formats, choices, defaults, bounds and nested models."""

    class Model(BaseModel):
        start: datetime
        step: timedelta = timedelta(hours=6)
        scheme: Scheme = Scheme.EULER
        members: Annotated[int, Field(ge=1, le=50, description="of the ensemble")] = 1
        area: Area = Box()

    schema = accepting(Model).Parameters.model_json_schema()
    fields = schema["$defs"]["Model"]["properties"]
    assert (fields["start"]["format"], fields["step"]["format"]) == ("date-time", "duration")
    assert schema["$defs"]["Scheme"]["enum"] == ["euler", "leapfrog"]
    assert (fields["members"]["minimum"], fields["members"]["maximum"]) == (1, 50)
    assert fields["members"]["description"] == "of the ensemble"
    assert set(fields["area"]["discriminator"]["mapping"]) == {"box", "point"}
    assert json.loads(json.dumps(schema)) == schema


def test_a_function_takes_what_a_class_takes():
    """The same hints and defaults come to the same schema and the same values."""

    class Parameters(BaseModel):
        start: datetime
        steps: Annotated[int, Field(ge=1)]
        area: Area = Box(south=-30)
        lead_times: list[timedelta] = [timedelta(hours=6)]
        scheme: Scheme = Scheme.LEAPFROG

    by_class = type("Sample", (Workflow,), {"name": "sample", "Parameters": Parameters, "run": lambda *_: None})

    @workflow
    def sample(
        start: datetime,
        steps: Annotated[int, Field(ge=1)],
        area: Area = Box(south=-30),  # noqa: B008 - the default that a workflow's author writes
        lead_times: list[timedelta] = [timedelta(hours=6)],  # noqa: B006 - as above
        scheme: Scheme = Scheme.LEAPFROG,
    ) -> None: ...

    by_function = from_function(sample)
    assert by_function.Parameters.model_json_schema() == by_class.Parameters.model_json_schema()
    raw = {"start": "2026-01-02", "steps": 3, "lead_times": [3600.0, "PT6H"]}
    assert validate(by_function, raw).model_dump() == validate(by_class, raw).model_dump()
    for wrong in ({}, {"start": "2026", "steps": 0}, {**raw, "more": 1}):
        with pytest.raises(InvalidParametersError) as function_error:
            validate(by_function, wrong)
        with pytest.raises(InvalidParametersError) as class_error:
            validate(by_class, wrong)
        assert function_error.value.fields == class_error.value.fields


def test_one_runs_default_is_not_the_next_ones(tmp_path):
    """A list that a function changes is its own, as a model's default is."""
    from wildcast_server import RunContext

    seen = []

    @workflow
    def greedy(items: list[int] = [1]) -> None:  # noqa: B006 - the case
        items.append(2)
        seen.append(items)

    cls = from_function(greedy)
    for _ in range(2):
        cls(cls.Config()).run(validate(cls, {}), RunContext("exec_1_00000000", tmp_path))
    assert seen == [[1, 2], [1, 2]]
    assert inspect.signature(greedy).parameters["items"].default == [1]
