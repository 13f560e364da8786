"""Repeat a request that met an outage: jittered exponential back-off, within a deadline."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from wildcast_server.errors import CredentialsExpiredError, NetworkError, StoreError

Result = TypeVar("Result")

Judge = Callable[[StoreError, float], bool]
"""Told of a failure that may pass, and when (`time.monotonic`) its try began; says whether another try is worth it."""

WORTH_ANOTHER_TRY = (NetworkError, CredentialsExpiredError)
"""What may be different the next time; every other error would only come again."""


def _always(_error: StoreError, _began: float) -> bool:
    return True


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class RetryPolicy:
    """How long, and in what rhythm, a request is repeated.

    The pause before the n-th repetition is uniformly random between nothing and ``min(most, first * 2**(n - 1))``
    seconds ("full jitter": AWS Architecture Blog, "Exponential Backoff And Jitter").
    """

    deadline: float
    """No repetition begins later than this after the first try began, in seconds."""
    first: float = 0.1
    """The longest first pause, in seconds."""
    most: float = 10.0
    """The longest pause, in seconds."""
    max_retries: int | None = None
    """How many repetitions there are at most; None: as many as fit before the deadline."""

    def call(
        self,
        work: Callable[[], Result],
        judge: Judge = _always,
        on_repeat: Callable[[], None] = _nothing,
        *,
        failed: tuple[StoreError, float] | None = None,
    ) -> Result:
        """Return what `work` returns, calling it again after a `NetworkError` or `CredentialsExpiredError`.

        Parameters
        ----------
        work
            Makes one request.
        judge
            Told of each such failure; False ends it.
        on_repeat
            Called before each repetition.
        failed
            The failure of a first try that was made already, and when that began.

        Raises
        ------
        StoreError
            The last failure, as it was.
        """
        began = tried = time.monotonic() if failed is None else failed[1]
        failures = 0
        while True:
            try:
                if failed is not None:
                    raise failed[0]
                return work()
            except WORTH_ANOTHER_TRY as error:
                failed = None
                if not judge(error, tried):
                    raise
                pause = self._pause(failures)
                failures += 1
                if self._is_over(failures, time.monotonic() + pause - began):
                    raise
            time.sleep(pause)
            on_repeat()
            tried = time.monotonic()

    def _pause(self, failures: int) -> float:
        # Beyond thirty doublings the cap rules anyway, and the power would no longer fit a float some day.
        return random.uniform(0, min(self.most, self.first * 2 ** min(failures, 30)))

    def _is_over(self, repetitions: int, elapsed: float) -> bool:
        if self.max_retries is not None and repetitions > self.max_retries:
            return True
        return elapsed > self.deadline


ONE_TRY = RetryPolicy(deadline=0.0, max_retries=0)
"""Repeats nothing."""
