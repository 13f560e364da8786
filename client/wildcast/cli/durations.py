"""Times as one types them: ``7d``, ``12h``, ``30m``, ``45s``, or plain seconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")


def parse_duration(text: str) -> timedelta | None:
    """Return a time as it is typed; None if it is none."""
    match = _FORM.fullmatch(text.strip().lower())
    try:
        return None if match is None else timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        return None


class Duration(click.ParamType):  # type: ignore[type-arg]  # it has none before click 8.4
    """A time, such as ``7d``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it; zero is none."""
        if isinstance(value, timedelta):
            return value
        parsed = parse_duration(value)
        if not parsed:
            self.fail(f"{value!r} is no time; give 7d, 12h, 30m, 45s, or seconds.", param, ctx)
        return parsed


class Moment(click.ParamType):  # type: ignore[type-arg]  # the same
    """A moment: ISO 8601, or how long ago it was, with its unit."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it; without a time zone it is UTC."""
        if isinstance(value, datetime):
            return value
        try:
            # What has no unit is ISO 8601 or nothing: 20260128 is a date, and nobody means seconds by it.
            ago = parse_duration(value) if value[-1:].isalpha() else None
            moment = datetime.now(UTC) - ago if ago is not None else datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no moment; give 2026-01-28T06:00:00Z, or 2d for two days ago.", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
