"""Times as ISO 8601 spells them, of which pydantic alone reads a part."""

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from pydantic import BaseModel

from wildcast_server.domain.parameters import restore, to_json, validate
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import InvalidParametersError

MORNING = datetime.fromisoformat("2026-01-02T06:00")
DAY = MORNING.replace(hour=0)


class Inner(BaseModel):
    """A part of the parameters."""

    valid: datetime | None = None


class Timed(Workflow):
    """Takes times of every kind."""

    name = "timed"

    class Parameters(BaseModel):
        """Times alone, in a list, and below another model."""

        start: datetime = MORNING
        starts: list[datetime] = []
        day: date | None = None
        clock: time | None = None
        inner: Inner = Inner()
        label: str | int = ""

    def run(self, parameters, context): ...


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-02", DAY),
        ("20260102", DAY),
        ("2026-01-02T06", MORNING),
        ("20260102T06", MORNING),
        ("20260102T060000Z", MORNING.replace(tzinfo=UTC)),
        ("2026-01-02T06:00:00.25", MORNING.replace(microsecond=250_000)),
        ("2026-01-02T06:00+01", MORNING.replace(tzinfo=timezone(timedelta(hours=1)))),
        ("2026-W01-5", DAY),
    ],
)
def test_every_spelling_is_the_same_time(text, meant):
    """Alone, in a list and in a nested model, a time is what ISO 8601 says, and is so after being recorded."""
    parameters = validate(Timed, {"start": text, "starts": [text, text], "inner": {"valid": text}})
    assert parameters == Timed.Parameters(start=meant, starts=[meant, meant], inner=Inner(valid=meant))
    assert restore(Timed, to_json(parameters)) == parameters


def test_dates_and_times_of_day():
    """Dates and times of day have their basic forms too."""
    parameters = validate(Timed, {"day": "20260102", "clock": "0630"})
    assert (parameters.day, parameters.clock) == (date(2026, 1, 2), time(6, 30))


def test_digits_that_are_no_time_stay():
    """Eight digits are a date only where a date is wanted; numbers of seconds stay what they were."""
    assert validate(Timed, {"label": "20260102"}).label == "20260102"
    assert validate(Timed, {"start": 0}).start.isoformat().startswith("1970-01-01")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "20261301T00", ""])
def test_what_is_no_time_is_refused(text):
    """Other text is an error that names its field."""
    with pytest.raises(InvalidParametersError) as refused:
        validate(Timed, {"starts": ["2026-01-02", text]})
    assert [entry["field"] for entry in refused.value.fields] == ["starts.1"]
