"""Parameters as JSON: what a scientist has at hand, in the form that the API reads."""

import math
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta
from enum import Enum
from os import PathLike, fspath
from typing import Any
from uuid import UUID

import msgspec

_DOUBLE = 8
"""Bytes of the floats that Python and JSON's readers have."""

_EPOCH = 1970
"""The year from which numpy counts."""

_NO_LENGTHS = frozenset({"Y", "M", "generic"})
"""Units of numpy's time differences."""


def to_json(value: Any, where: str = "parameters") -> Any:
    """Turn `value` into what JSON can hold.

    Times become ISO 8601, time differences ISO 8601 durations, numpy scalars and arrays (and what converts to one,
    such as an xarray coordinate) numbers, texts and nested lists. What JSON and the API cannot say exactly is refused
    rather than changed.

    Parameters
    ----------
    value
        What was given.
    where
        Its place, for the error's sentence.

    Raises
    ------
    TypeError
        For a type that has no form in JSON.
    ValueError
        For what is no number or no time (NaN, NaT), is masked or infinite; for a time outside the years 1 to 9999, with
        parts of a microsecond, or in units of no fixed length; for a number of more digits than a float has.
    """
    if isinstance(value, Enum):
        return to_json(value.value, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)  # numpy's texts are a subclass
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value), where)
    return _container_to_json(value, where)


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON cannot hold; leave it out or give a finite number.")
    return value


def _container_to_json(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {_name(key, where): to_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _scalar_to_json(value, where)


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{where} has the key {key!r}; only texts can be names.")
    return key


def _scalar_to_json(value: Any, where: str) -> Any:
    if isinstance(value, timedelta | datetime):
        return _time_to_json(value, where)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, PathLike):
        return to_json(fspath(value), where)
    # Whoever hands over something of numpy's has imported it; nobody else need wait for it.
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(value, "__array__"):
        return _array_to_json(numpy, value, where)
    if callable(getattr(value, "isoformat", None)):  # cftime's times, of the calendars of climate models
        return value.isoformat()
    raise TypeError(f"{where} is a {type(value).__name__}, which has no form in JSON.")


def _time_to_json(value: timedelta | datetime, where: str) -> Any:
    if value != value:  # noqa: PLR0124 - as pandas' NaT
        raise _no_time(where)
    # pandas' own have nanoseconds, and more years.
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise _inexact(value, where)
    if isinstance(value, datetime):
        if not MINYEAR <= value.year <= MAXYEAR:
            raise _inexact(value, where)
        return value.isoformat()
    try:
        return msgspec.to_builtins(timedelta(value.days, value.seconds, value.microseconds))
    except OverflowError:
        raise _inexact(value, where) from None


def _array_to_json(numpy: Any, value: Any, where: str) -> Any:
    if numpy.ma.is_masked(value):
        raise ValueError(f"{where} has masked values, which JSON cannot hold; fill them, or leave them out.")
    array = numpy.asarray(value)
    match array.dtype.kind:
        case "m" | "M":
            array = _exact_times(numpy, array, where)
        case "f" if array.dtype.itemsize > _DOUBLE:
            array = _exact_doubles(numpy, array, where)
        case "b" | "i" | "u" | "f" | "U" | "T" | "O":
            pass
        case _:
            raise TypeError(f"{where} has values of numpy's type {array.dtype}, which has no form in JSON.")
    return to_json(array.tolist(), where)


def _exact_times(numpy: Any, array: Any, where: str) -> Any:
    """Return times in microseconds, as Python has them."""
    if numpy.isnat(array).any():
        raise _no_time(where)
    unit = numpy.datetime_data(array.dtype)[0]
    if array.dtype.kind == "m" and unit in _NO_LENGTHS:
        raise ValueError(f"{where} is in numpy's unit {unit!r}, which has no fixed length; give it in days or less.")
    times = array.astype(f"{array.dtype.kind}8[us]")
    # numpy cuts off what is finer, and lets what is too large run over.
    wrong = times.astype(array.dtype) != array
    if array.dtype.kind == "M":
        years = times.astype("M8[Y]").astype("i8") + _EPOCH
        wrong |= (years < MINYEAR) | (years > MAXYEAR)
    if wrong.any():
        raise _inexact(array[wrong][0], where)
    return times


def _exact_doubles(numpy: Any, array: Any, where: str) -> Any:
    with numpy.errstate(over="ignore"):
        doubles = array.astype("f8")
    wrong = (doubles != array) & ~numpy.isnan(array)
    if wrong.any():
        value = array[wrong][0]
        raise ValueError(f"{where} is {value}, with more digits or a larger exponent than a float has; give a float.")
    return doubles


def _no_time(where: str) -> ValueError:
    return ValueError(f"{where} holds a time that is none (NaT), which JSON cannot hold; leave it out.")


def _inexact(value: Any, where: str) -> ValueError:
    return ValueError(
        f"{where} is {value}, which cannot be sent exactly: times have whole microseconds, and lie in the years "
        f"{MINYEAR} to {MAXYEAR}; round it, or give another."
    )
