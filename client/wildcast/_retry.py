"""When to try again, and how long to wait before it."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 60.0
"""Seconds; a server that asks for more is waited for this long only."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off with jitter.

    Parameters
    ----------
    attempts
        How often a request is made at most, the first time included.
    base
        The longest pause before the second attempt, in seconds; it doubles with each attempt.
    cap
        The longest pause of all, in seconds.
    """

    attempts: int = 6
    base: float = 0.2
    cap: float = 10.0

    def allows(self, failures: int) -> bool:
        """Whether there is another attempt after so many failures."""
        return failures < self.attempts

    def pause(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after `failures`; what the server asked for is a lower bound."""
        longest = min(self.cap, self.base * 2.0 ** (failures - 1))
        # Half fixed, half random: spread out, and never at once.
        return max(longest * random.uniform(0.5, 1.0), min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def parse_retry_after(value: str | None) -> float | None:
    """Read a ``Retry-After`` header, in seconds or as a date (RFC 9110 §10.2.3); None if there is none."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # of a year or zone that no datetime can hold
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
