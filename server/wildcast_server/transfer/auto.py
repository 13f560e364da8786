"""How many requests to have in flight: a number, or what measuring finds to be the best one."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

FIRST = 8
"""Requests in flight at first: the best number where there is no latency, and few for any store.

With 16 the threads spent a quarter more CPU time, in waiting for each other (Python's global lock).
"""

MOST = 256
"""Requests in flight at most."""

_ROUND = 0.02
"""What a measurement lasts at least, in seconds; and at least until as many requests have ended as may be in flight."""

_BUSY = 0.65
"""CPU seconds a second from which on more requests would only wait for this process itself."""

_IDLE = 0.35
"""CPU seconds a second below which it is the latency alone that we wait for, so that the step may be the largest."""

_LARGEST_STEP, _SMALLEST_STEP = 32.0, 2.0
"""By which the number is multiplied at once."""

_GAIN = 1.1
"""A step is worth it if throughput grew by this factor at least."""

_HEADROOM = 1.5
"""Requests in flight for each that the latency without a queue asks for (Little's law)."""

_PATIENCE, _LONGEST_PATIENCE = 1.0, 30.0
"""Seconds until growing is tried once more after it was of no use; doubled each time."""

_EXPECTED_RATE = 8000
"""Requests a second: about twice what this process can send."""

_OWN_TIME = 0.006
"""Of a lonely round trip, in seconds: what the first connection takes, and this process beside other work."""

_GENEROUS = 3.0
"""As `_HEADROOM`, where all that is known is how long a tiny request takes."""

_SHORT = 0.012
"""Seconds a request below which one more round costs nothing that counts."""

_RECOVERY = 1.0
"""Seconds without SlowDown after which an eighth more is allowed again."""


@dataclass(frozen=True)
class _Measurement:
    limit: int
    latency: float
    """Mean seconds a request."""
    bytes_each: float

    @property
    def requests(self) -> float:
        """In a second, as all of `limit` are always in flight (Little's law)."""
        return self.limit / self.latency

    def gain_over(self, other: "_Measurement") -> float:
        """By which factor throughput is higher, in requests or in bytes, whichever grew more."""
        requests = self.requests / other.requests
        return max(requests, requests * self.bytes_each / other.bytes_each) if other.bytes_each else requests


class FixedLimit:
    """A number of requests in flight that stays as it is.

    Parameters
    ----------
    limit
        Requests.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def ended(self, began: float, size: int, in_flight: int) -> bool:
        """Take in that a request has ended; say whether `limit` changed."""
        del began, size, in_flight
        return False

    def expect(self, round_trip: float) -> None:
        """Take in how many seconds a small request took; it changes nothing."""


class AutoLimit:
    """A number of requests in flight that follows what the store, the way there and this machine can do.

    It begins with 8, or with more where `expect` was told of a long round trip. When as many requests have ended, the
    CPU time that they took and the time that they waited tell how many more would fit, and the number is multiplied by
    up to 32. While throughput grows so does the number; when it does not, it returns to what throughput needs, and
    growing is tried again later. Each time that the store asks for fewer requests (503 SlowDown) the number is halved,
    and grows by an eighth a second from then on.

    It is no thread's own: whoever calls it holds a lock.

    Parameters
    ----------
    first, most
        Requests in flight at first, and at most.
    slow_downs
        Tells how often the store has asked for fewer requests so far.
    clock, cpu
        Tell the time, and the CPU time of this process, in seconds.
    """

    def __init__(
        self,
        *,
        first: int = FIRST,
        most: int = MOST,
        slow_downs: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.limit = self._first = min(first, most)
        self._most = most
        self._round_trip: float | None = None
        self._has_measured = False
        self._slow_downs = slow_downs
        self._clock, self._cpu = clock, cpu
        self._best: _Measurement | None = None
        self._growing = True
        self._was_slowed = self._is_settled = False
        self._patience = _PATIENCE
        self._rest_until = 0.0
        self._seen = slow_downs()
        self._forgive = False
        self._restart(-1.0)

    def expect(self, round_trip: float) -> None:
        """Take in how many seconds a small request took, and begin with as many as that asks for.

        Once uploads themselves have been measured it changes nothing. If it was a bad guess, the first measurements
        show it.
        """
        if self._has_measured:
            return
        self._round_trip = round_trip if self._round_trip is None else min(self._round_trip, round_trip)
        latency = max(0.0, self._round_trip - _OWN_TIME)
        self.limit = max(self._first, min(self._most, round(latency * _EXPECTED_RATE)))
        _log.debug("concurrency %d -> %d: %.1f ms a round trip", self._first, self.limit, self._round_trip * 1000)

    def ended(self, began: float, size: int, in_flight: int) -> bool:
        """Take in that a request has ended; say whether `limit` changed.

        Parameters
        ----------
        began
            When, by the clock.
        size
            Of its body, in bytes.
        in_flight
            Requests, this one included.
        """
        now = self._clock()
        if self._since < 0:
            self._restart(began)
        if began < self._since:
            return False
        if not self._count and self._forgive:
            # They answered requests from before the last cut.
            self._seen, self._forgive = self._slow_downs(), False
        self._count += 1
        self._waited += now - began
        self._bytes += size
        self._filled += in_flight >= self.limit
        if self._slow_downs() > self._seen:
            return self._slow_down(now)
        if self._count < self.limit or now - self._since < _ROUND:
            return False
        return self._decide(now)

    def _restart(self, now: float) -> None:
        self._since = now
        self._began_cpu = self._cpu()
        self._count = self._bytes = self._filled = 0
        self._waited = 0.0

    def _slow_down(self, now: float) -> bool:
        self._was_slowed = self._has_measured = True
        self._round_trip = None
        self._rest_until = now + _RECOVERY
        changed = self._set(max(1, self.limit // 2), now, "the store asks for fewer requests")
        self._seen, self._forgive = self._slow_downs(), True
        return changed

    def _decide(self, now: float) -> bool:
        measured = _Measurement(self.limit, max(self._waited / self._count, 1e-6), self._bytes / self._count)
        load = (self._cpu() - self._began_cpu) / (now - self._since)
        # Where files or memory kept fewer in flight than allowed, the limit is not what decides.
        filled = self._filled >= self._count // 2
        if not filled or now < self._rest_until:
            self._restart(now)
            return False
        self._has_measured = True
        enough = self._enough(measured)
        if enough < self.limit:
            return self._take_back(enough, now)
        self._round_trip = None
        if self._was_slowed:
            self._rest_until = now + _RECOVERY
            return self._set(min(self._most, self.limit + max(1, self.limit // 8)), now, "the store keeps up")
        return self._grow(measured, load, now)

    def _grow(self, measured: _Measurement, load: float, now: float) -> bool:
        """Allow more, unless that was of no use before or cannot be."""
        if self._growing and self._best is not None and measured.limit > self._best.limit:
            needed = self._needed(self._best, measured)
            if needed < measured.limit:
                why = "more requests only wait longer"
                return self._rest(needed, now, why) if self._is_settled else self._settle(now)
        if (load >= _IDLE or measured.latency < _SHORT) and not self._is_settled:
            # While threads and connections are still being made, neither is what it will be.
            return self._settle(now)
        self._best = measured
        why = f"{measured.latency * 1000:.1f} ms a request, CPU {load:.0%}"
        step = _LARGEST_STEP if load < _IDLE else max(_SMALLEST_STEP, 1 / load)
        # More than that would not be in flight, however fast they were sent (Little's law).
        useful = min(self._most, round(measured.latency * _EXPECTED_RATE))
        if load >= _BUSY or self.limit >= useful:
            return self._rest(self.limit, now, why)
        self._growing = True
        return self._set(min(useful, round(self.limit * step)), now, why)

    def _enough(self, measured: _Measurement) -> int:
        """Return how many suffice if we began with a guess; else as many as there are."""
        if self._round_trip is None:
            return self.limit
        return max(self._first, round(_GENEROUS * measured.requests * self._round_trip))

    def _take_back(self, enough: int, now: float) -> bool:
        """Forget a guess that was far too high."""
        if not self._is_settled:
            return self._settle(now)
        self._round_trip = None
        return self._set(enough, now, "far more than the round trip asks for")

    def _settle(self, now: float) -> bool:
        """Measure once more: the first round after a step finds the queue still growing."""
        self._is_settled = True
        self._restart(now)
        return False

    @staticmethod
    def _needed(before: _Measurement, now: _Measurement) -> int:
        """Return how many requests in flight the throughput that was reached needs."""
        gain = now.gain_over(before)
        if gain < _GAIN:
            return before.limit
        # Beyond what the latency without a queue asks for, requests wait for each other.
        return min(now.limit, round(before.limit * gain * _HEADROOM))

    def _rest(self, limit: int, now: float, why: str) -> bool:
        """Stay at `limit` for a while, longer each time."""
        self._growing = False
        self._best = None
        self._rest_until = now + self._patience
        self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
        return self._set(limit, now, why)

    def _set(self, limit: int, now: float, why: str) -> bool:
        before, self.limit = self.limit, limit
        self._is_settled = False
        if before != limit:
            _log.debug("concurrency %d -> %d: %s", before, limit, why)
        self._restart(now)
        return before != limit
