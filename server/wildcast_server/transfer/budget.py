"""How many requests may be in flight, how many bytes they may hold, and who of several gets how much of both."""

import sys
from collections import deque
from collections.abc import Sequence
from threading import Condition, Lock
from typing import NamedTuple

from wildcast_server.transfer.auto import AutoLimit, FixedLimit

_QUANTUM = 1 << 18
"""Bytes of which a task of one request is granted a multiple."""


class Cost(NamedTuple):
    """What one task wants of a budget while it runs."""

    slots: int = 1
    """Requests in flight at the same time; a task of several gets fewer where there are not as many."""
    each: int = 0
    """Bytes that each of them holds."""
    extra: int = 0
    """Bytes besides."""
    weight: int = 0
    """Of tasks of several requests, the heaviest begin first."""

    def bytes(self, slots: int) -> int:
        """Return the memory that `slots` requests take."""
        return slots * self.each + self.extra

    def fitting(self, memory: int) -> int:
        """Return for how many requests `memory` suffices."""
        return (memory - self.extra) // max(1, self.each)


class Grant(NamedTuple):
    """What one task got of a budget."""

    slots: int
    bytes: int


_ONE = Cost()


class Budget:
    """How many requests may be in flight, and how many bytes they may hold, over all who share it.

    Each call of `for_each` that has work left gets an equal share of the requests.

    Parameters
    ----------
    limit
        Requests.
    memory
        Bytes.
    """

    def __init__(self, limit: int | AutoLimit, memory: int) -> None:
        self.limiter = FixedLimit(limit) if isinstance(limit, int) else limit
        self.memory = memory
        self.lock = Lock()
        self.changed = Condition(self.lock)
        self.in_flight = self.bytes_used = 0
        self.hungry = 0
        """Runs that have work left."""
        self.waiting = 0
        """Runs that have work left and nothing in flight."""

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self.limiter.limit

    @property
    def share(self) -> int:
        """Requests that one run may have in flight now."""
        limit = self.limiter.limit
        return limit if self.hungry <= 1 else max(1, limit // self.hungry)

    @property
    def has_room(self) -> bool:
        """Whether one more request may be in flight now."""
        return self.in_flight < self.limiter.limit

    def take(self, grant: Grant) -> None:
        """Count what a task got; the lock is held."""
        self.in_flight += grant.slots
        self.bytes_used += grant.bytes

    def give_back(self, grant: Grant) -> None:
        """Count what a task had; the lock is held."""
        self.in_flight -= grant.slots
        self.bytes_used -= grant.bytes
        if self.waiting:
            self.changed.notify_all()


Task = tuple[int, Grant]
"""The number of an item, and what was granted for it."""


class Share:
    """What one run has of a budget, and what it has left to do.

    It is made without the budget's lock; each method is called with it held, but for those that say otherwise.

    Parameters
    ----------
    budget
        That several may share.
    number
        How many tasks there are; they are named by their numbers, from 0.
    costs
        What each takes; None: one request, and no bytes.
    most
        Requests that it may have in flight, however many the budget has.
    """

    def __init__(self, budget: Budget, number: int, costs: Sequence[Cost] | None, most: int | None = None) -> None:
        self._budget, self._costs = budget, costs
        self._most = sys.maxsize if most is None else most
        self.wide = _wide(costs or ())
        """What takes several requests."""
        everything = range(number)
        self.narrow = deque(n for n in everything if not self.is_wide(n)) if self.wide else deque(everything)
        """What takes one request."""
        self.tasks = 0
        """In flight."""
        self._slots = self._wide_slots = self._wide_bytes = 0
        self._is_hungry = True
        with budget.lock:
            budget.hungry += 1

    @property
    def most(self) -> int:
        """Requests that it may have in flight now."""
        return min(self._budget.share, self._most)

    def size(self, number: int) -> int:
        """Return how many bytes each request of a task holds. It needs no lock."""
        return 0 if self._costs is None else self._costs[number].each

    def is_wide(self, number: int) -> bool:
        """Whether a task takes several requests. It needs no lock."""
        return self._costs is not None and self._costs[number].slots > 1

    def give_back(self, task: Task) -> None:
        """Take in that a task has ended."""
        number, grant = task
        budget = self._budget
        self.tasks -= 1
        self._slots -= grant.slots
        if self.is_wide(number):
            self._wide_slots -= grant.slots
            self._wide_bytes -= grant.bytes
        budget.give_back(grant)

    def take(self, *, narrow: bool = True) -> Task | None:
        """Take a task if there is room for one, also one of a single request if `narrow`."""
        if self._budget.waiting and self.tasks:
            return None
        if self.wide:
            grant, is_due = self._wide_grant(self._costs[self.wide[0]] if self._costs else _ONE)
            if grant is not None:
                self._wide_slots += grant.slots
                self._wide_bytes += grant.bytes
                return self._taken(self.wide.popleft(), grant)
            if is_due:
                return None
        return self.take_narrow() if narrow else None

    def take_narrow(self) -> Task | None:
        """Take a task of one request if there is room for it."""
        budget = self._budget
        if not budget.has_room or self._slots >= self.most:
            return None
        try:
            number = self.narrow.popleft()
        except IndexError:
            return None
        exactly, free = min(self.size(number), budget.memory), budget.memory - budget.bytes_used
        if exactly > free:
            self.narrow.appendleft(number)
            return None
        # Rounded up where it can be, so that the grant will do for the next one of about the same size, too.
        size = min(-(-exactly // _QUANTUM) * _QUANTUM, free)
        return self._taken(number, Grant(1, size))

    def _wide_grant(self, cost: Cost) -> tuple[Grant | None, bool]:
        """Return what a task of several requests gets now, and whether what is in flight must make room for it.

        Beside tasks of one request, those of several have half of the requests and of the bytes in all.
        """
        budget = self._budget
        parts = 2 if self.narrow else 1
        entitled = min(
            cost.slots,
            max(1, self.most // parts) - self._wide_slots,
            cost.fitting(budget.memory // parts - self._wide_bytes),
        )
        if not self._wide_slots:
            entitled = max(1, entitled)
        # Better to wait a little than to send a large file through one connection.
        least = 1 if not self._wide_slots else (cost.slots + 1) // 2
        if entitled < least:
            return None, False
        free = min(budget.limit - budget.in_flight, self.most - self._slots)
        got = min(entitled, free, cost.fitting(budget.memory - budget.bytes_used))
        if not budget.in_flight:
            got = max(1, got)
        if got < least:
            return None, True
        return Grant(got, min(cost.bytes(got), budget.memory - budget.bytes_used)), True

    def _taken(self, number: int, grant: Grant) -> Task:
        self._budget.take(grant)
        self._slots += grant.slots
        self.tasks += 1
        return number, grant

    def leave(self) -> None:
        """Leave the share to other runs."""
        if self._is_hungry:
            self._is_hungry = False
            self._budget.hungry -= 1
            if self._budget.waiting:
                self._budget.changed.notify_all()


def _wide(costs: Sequence[Cost]) -> deque[int]:
    """Return the numbers of what takes several requests, the largest first, so that the end is no lonely file."""
    wide = [number for number, cost in enumerate(costs) if cost.slots > 1]
    return deque(sorted(wide, key=lambda number: -costs[number].weight))
