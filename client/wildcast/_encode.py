"""Parameters as JSON: what a scientist has at hand, in the form that the API reads."""

import math
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from enum import Enum
from os import PathLike, fspath
from typing import Any
from uuid import UUID

import msgspec


def to_json(value: Any, where: str = "parameters") -> Any:
    """Turn `value` into what JSON can hold.

    Times become ISO 8601, time differences ISO 8601 durations, numpy scalars and arrays (and what converts to one,
    such as an xarray coordinate) numbers, texts and nested lists.

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
        For an infinite number or one that is none.
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
    if isinstance(value, timedelta):
        return msgspec.to_builtins(timedelta(value.days, value.seconds, value.microseconds))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, PathLike):
        return fspath(value)
    # Whoever hands over something of numpy's has imported it; nobody else need wait for it.
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(value, "__array__"):
        return _array_to_json(numpy, numpy.asarray(value), where)
    if callable(getattr(value, "isoformat", None)):  # cftime's times, of the calendars of climate models
        return value.isoformat()
    raise TypeError(f"{where} is a {type(value).__name__}, which has no form in JSON.")


def _array_to_json(numpy: Any, array: Any, where: str) -> Any:
    if array.dtype.kind in "mM":
        if numpy.isnat(array).any():
            raise ValueError(f"{where} holds a time that is none (NaT), which JSON cannot hold; leave it out.")
        array = array.astype(f"{array.dtype.kind}8[us]")
    return to_json(array.tolist(), where)
