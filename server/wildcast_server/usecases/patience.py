"""Making changes of records that cannot be reached now: hours of computing must not fail with them."""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.usecases.drain import Drain

logger = logging.getLogger(__name__)

WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait, in seconds, before each further try; the last one again and again."""

Changed = TypeVar("Changed")


@dataclass(frozen=True)
class Patience:
    """Tries for as long as it takes, or until the worker stops.

    Parameters
    ----------
    waits
        As `WAITS`.
    """

    drain: Drain
    waits: Sequence[float] = WAITS

    def __call__(self, execution_id: str, change: Callable[[], Changed]) -> Changed:
        """Return what `change` returns; what else than an outage it raises goes on."""
        for seconds in itertools.chain(self.waits, itertools.repeat(self.waits[-1])):
            try:
                return change()
            except ServiceUnavailableError as outage:
                logger.warning("%s: its record is tried again in %g seconds: %s", execution_id, seconds, outage)
                if self.drain.wait(seconds):
                    self.drain.freeze()
        raise AssertionError  # the waits have no end
