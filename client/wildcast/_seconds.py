"""Times that somebody gives in seconds."""

import math
from typing import Any


def seconds_of(value: Any, name: str, example: str) -> float:
    """Return a number of seconds.

    Raises
    ------
    ValueError
        If it is none; the sentence names `value` and shows `example`.
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise ValueError(f"{name} is {value!r}; give seconds, as a number, such as {example}.")
    return seconds
