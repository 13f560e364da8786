"""Stopping in order: a worker takes nothing new, and what it cannot end goes back to where others find it."""

import threading
from collections.abc import Callable
from typing import NoReturn


def never() -> NoReturn:
    """Wait for ever, in a thread that nobody waits for."""
    while True:
        threading.Event().wait()


class Drain:
    """Whether a worker is stopping, and how its jobs come to rest.

    A step that ends is kept, and one that raises ends its job; so a step that is to begin again elsewhere does neither.

    Parameters
    ----------
    rest
        Never returns.
    """

    def __init__(self, rest: Callable[[], NoReturn] = never) -> None:
        self._rest = rest
        self._begun = threading.Event()
        self._lock = threading.Lock()
        self._at_rest = 0

    def begin(self) -> None:
        """Note that the worker is stopping."""
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether it is."""
        return self._begun.is_set()

    @property
    def at_rest(self) -> int:
        """How many steps do not go on."""
        return self._at_rest

    def wait(self, seconds: float) -> bool:
        """Wait, but not on when the worker is stopping; whether it is."""
        return self._begun.wait(seconds)

    def freeze(self) -> NoReturn:
        """Stop here; the job is given to another worker, or to the next start of this one."""
        with self._lock:
            self._at_rest += 1
        self._rest()
