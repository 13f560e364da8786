"""Every spelling of ISO 8601 that Python reads, for parameters whose model reads fewer.

Pydantic takes the extended form alone (``2026-01-02T06:00+01:00``), refuses the basic one (``20260102T06``, offsets of
hours, week dates), and takes a basic date (``20260102``) for seconds since 1970: a date that nobody meant.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import date, datetime, time
from typing import Any

from pydantic import ValidationError

_BASIC_DATE = re.compile(r"[0-9]{8}")

_READERS: Mapping[str, Callable[[str], date | time]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
}
"""By how the type of pydantic's error begins."""


def refused_times(raw: Mapping[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """Return `raw` with those times spelled out that the model could not read and Python can; None if there is none."""
    changed = deepcopy(dict(raw))
    found = False
    for detail in error.errors(include_url=False, include_context=False):
        read = _READERS.get(detail["type"].partition("_")[0])
        if read is not None and isinstance(detail["input"], str):
            found |= _replace(changed, detail["loc"], read)
    return changed if found else None


def mistaken_dates(raw: Mapping[str, Any], understood: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `raw` with the basic dates spelled out that the model took for seconds; None if there is none.

    `understood` is the model's own values, in the shape of `raw`.
    """
    changed = {name: _corrected(value, understood.get(name)) for name, value in raw.items()}
    return changed if changed != dict(raw) else None


def _replace(values: Any, place: tuple[Any, ...], read: Callable[[str], date | time]) -> bool:
    for part in place[:-1]:
        # A union's branch is in the place as well, and is no step.
        if _has(values, part):
            values = values[part]
    if not _has(values, place[-1]) or not isinstance(values[place[-1]], str):
        return False
    try:
        values[place[-1]] = read(values[place[-1]]).isoformat()
    except ValueError:
        return False
    return True


def _has(values: Any, part: Any) -> bool:
    if isinstance(values, dict):
        return part in values
    return isinstance(values, list) and isinstance(part, int) and part < len(values)


def _corrected(value: Any, understood: Any) -> Any:
    if isinstance(value, str) and isinstance(understood, date) and _BASIC_DATE.fullmatch(value):
        try:
            return datetime.fromisoformat(value).date().isoformat()
        except ValueError:
            return value
    if isinstance(value, list) and isinstance(understood, list | tuple) and len(value) == len(understood):
        return [_corrected(*pair) for pair in zip(value, understood, strict=True)]
    if isinstance(value, Mapping) and isinstance(understood, Mapping):
        return {name: _corrected(item, understood.get(name)) for name, item in value.items()}
    return value
