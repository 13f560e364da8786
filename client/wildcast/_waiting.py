"""Waiting for what a server does: when to look again, and how long a server may be gone meanwhile."""

import math
import time
from collections.abc import Callable, Iterator

from wildcast._flows import Flow, Sleep, T

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two looks at a status; they grow from the first to the longest."""

PATIENCE = 120.0
"""Seconds for which a server that was there may be gone, for a restart, before waiting gives up."""


def pauses(longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield the seconds to pause before each further look."""
    pause = min(FIRST_PAUSE, longest)
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def patient(ask: Callable[[], Flow[T]], is_outage: Callable[[Exception], bool], deadline: float | None) -> Flow[T]:
    """Return what `ask` returns, asked again for as long as `PATIENCE` and the deadline allow.

    Parameters
    ----------
    ask
        Asks the server.
    is_outage
        Whether an error means that the server is gone for now. Any other is raised at once.
    deadline
        Until when, on the monotonic clock in seconds; None for no end but that of `PATIENCE`.
    """
    give_up = min(time.monotonic() + PATIENCE, math.inf if deadline is None else deadline)
    further = pauses()
    while True:
        try:
            return (yield from ask())
        except Exception as error:
            left = give_up - time.monotonic()
            if left <= 0 or not is_outage(error):
                raise
            asked = getattr(error, "retry_after", None) or 0.0
        yield Sleep(min(max(next(further), asked), left))


def patiently(ask: Callable[[], T], is_outage: Callable[[Exception], bool], deadline: float | None) -> T:
    """Do what `patient` does, for what blocks."""

    def asked() -> Flow[T]:
        return ask()
        yield  # a flow without steps is a generator all the same

    flow = patient(asked, is_outage, deadline)
    while True:
        try:
            step = next(flow)
        except StopIteration as stop:
            value: T = stop.value
            return value
        if isinstance(step, Sleep):
            time.sleep(step.seconds)


def naming(sentence: str, execution_id: str) -> str:
    """Return the sentence of an error that ended a wait, with the id by which the execution is waited for again."""
    if execution_id in sentence:
        return sentence
    return f"Waiting for {execution_id} broke off, and can be taken up again by that id: {sentence}"
