"""Do many things at a time, within one bound on the requests in flight and one on the bytes that they hold."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Event, Lock, Thread
from typing import Generic, NamedTuple, TypeVar

from wildcast_server.transfer.auto import AutoLimit, FixedLimit

Item = TypeVar("Item")
Result = TypeVar("Result")


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

_QUANTUM = 1 << 18
"""Bytes of which a task of one request is granted a multiple."""

_LOOK_AGAIN = 0.5
"""Seconds after which who waits for room looks whether it was stopped."""


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


class _Run(Generic[Item, Result]):
    """One call of `for_each`: what is left to do, and what is in flight.

    Its threads take the next task when they have ended one, and end when there is none or no room; whoever takes a task
    starts threads for all others that fit. What is called "under the lock" is called with the budget's lock held.
    """

    def __init__(
        self,
        work: Callable[[Item, Grant], Result],
        items: Sequence[Item],
        budget: Budget,
        costs: Sequence[Cost] | None,
        *,
        stop: Event,
        observed: bool,
    ) -> None:
        self._work, self._items, self._budget, self._costs = work, items, budget, costs
        self._stop = stop
        self._observed = observed and isinstance(budget.limiter, AutoLimit)
        self.results: list[Result | None] = [None] * len(items)
        self.failure: BaseException | None = None
        self.ended = Event()
        self._wide = _wide(costs or ())
        all_numbers = range(len(items))
        self._narrow = deque(n for n in all_numbers if not self._is_wide(n)) if self._wide else deque(all_numbers)
        self._tasks = self._slots = self._wide_slots = self._wide_bytes = 0
        self._is_hungry = True
        with budget.lock:
            budget.hungry += 1

    def start(self, task: Task | None = None) -> None:
        """Start a thread that begins with `task`."""
        Thread(target=self._worker, args=(task,), name="transfer").start()

    def fail(self, error: BaseException) -> None:
        """End the run: what is in flight comes to its end, and nothing else begins."""
        with self._budget.lock:
            if not self._stop.is_set():
                self.failure = error
                self._stop.set()
            self._budget.changed.notify_all()

    def _worker(self, task: Task | None) -> None:
        if task is None:
            task = self._turn(None)
        while task is not None:
            number, grant = task
            began = time.perf_counter() if self._observed and grant.slots == 1 else None
            try:
                self.results[number] = self._work(self._items[number], grant)
            except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits
                began = None
                self.fail(error)
            if began is not None:
                self._observe(number, began)
            task = self._again(task) or self._turn(task)

    def _observe(self, number: int, began: float) -> None:
        # A measurement that is lost now and then does no harm, waiting for the lock would.
        if self._budget.lock.acquire(blocking=False):
            try:
                self._budget.limiter.ended(began, self._size(number), self._budget.in_flight)
            finally:
                self._budget.lock.release()

    def _again(self, ended: Task) -> Task | None:
        """Take the next task for what another was granted, where nothing has to be weighed.

        This is what happens nearly always, and it takes no lock: hundreds of threads would queue at it.
        """
        _, grant = ended
        budget = self._budget
        if grant.slots > 1 or self._wide or self._stop.is_set() or budget.hungry > 1 or budget.waiting:
            return None
        if budget.in_flight != budget.limiter.limit:
            return None
        try:
            number = self._narrow.popleft()
        except IndexError:
            return None
        if self._size(number) > grant.bytes:
            self._narrow.appendleft(number)
            return None
        return number, grant

    def _turn(self, ended: Task | None) -> Task | None:
        """Give back what a task had, take the next one, and start threads for what else fits."""
        others: list[Task] = []
        with self._budget.lock:
            if ended is not None:
                self._give_back(ended)
            task = self._take_or_wait()
            while task is not None and self._budget.has_room and (another := self._take()) is not None:
                others.append(another)
            if task is None and not self._tasks:
                self.ended.set()
        self._start_all(others)
        return task

    def _start_all(self, tasks: list[Task]) -> None:
        try:
            while tasks:
                self.start(tasks[-1])
                tasks.pop()
        except RuntimeError as error:  # no more threads to be had
            self.fail(error)
            with self._budget.lock:
                for task in tasks:
                    self._give_back(task)

    def _give_back(self, task: Task) -> None:
        number, grant = task
        budget = self._budget
        self._tasks -= 1
        self._slots -= grant.slots
        if self._is_wide(number):
            self._wide_slots -= grant.slots
            self._wide_bytes -= grant.bytes
        budget.give_back(grant)

    def _size(self, number: int) -> int:
        return 0 if self._costs is None else self._costs[number].each

    def _is_wide(self, number: int) -> bool:
        return self._costs is not None and self._costs[number].slots > 1

    def _take_or_wait(self) -> Task | None:
        """Take a task; wait for other runs if there is no room, and nothing of this one in flight. Under the lock."""
        budget = self._budget
        while (task := self._take()) is None and self._has_work() and not self._tasks:
            budget.waiting += 1
            budget.changed.wait(_LOOK_AGAIN)
            budget.waiting -= 1
        return task

    def _has_work(self) -> bool:
        return not self._stop.is_set() and bool(self._narrow or self._wide)

    def _take(self) -> Task | None:
        """Take a task if there is room for one. Under the lock."""
        if not self._has_work():
            self.leave()
            return None
        if self._budget.waiting and self._tasks:
            return None
        if self._wide:
            grant, is_due = self._wide_grant(self._costs[self._wide[0]] if self._costs else _ONE)
            if grant is not None:
                self._wide_slots += grant.slots
                self._wide_bytes += grant.bytes
                return self._taken(self._wide.popleft(), grant)
            if is_due:
                return None
        return self._take_narrow()

    def _take_narrow(self) -> Task | None:
        budget = self._budget
        if not budget.has_room or self._slots >= budget.share:
            return None
        try:
            number = self._narrow.popleft()
        except IndexError:
            return None
        exactly, free = min(self._size(number), budget.memory), budget.memory - budget.bytes_used
        if exactly > free:
            self._narrow.appendleft(number)
            return None
        # Rounded up where it can be, so that the grant will do for the next one of about the same size, too.
        size = min(-(-exactly // _QUANTUM) * _QUANTUM, free)
        return self._taken(number, Grant(1, size))

    def _wide_grant(self, cost: Cost) -> tuple[Grant | None, bool]:
        """Return what a task of several requests gets now, and whether what is in flight must make room for it.

        Beside tasks of one request, those of several have half of the requests and of the bytes in all.
        """
        budget = self._budget
        parts = 2 if self._narrow else 1
        entitled = min(
            cost.slots,
            max(1, budget.share // parts) - self._wide_slots,
            cost.fitting(budget.memory // parts - self._wide_bytes),
        )
        if not self._wide_slots:
            entitled = max(1, entitled)
        # Better to wait a little than to send a large file through one connection.
        least = 1 if not self._wide_slots else (cost.slots + 1) // 2
        if entitled < least:
            return None, False
        free = min(budget.limit - budget.in_flight, budget.share - self._slots)
        got = min(entitled, free, cost.fitting(budget.memory - budget.bytes_used))
        if not budget.in_flight:
            got = max(1, got)
        if got < least:
            return None, True
        return Grant(got, min(cost.bytes(got), budget.memory - budget.bytes_used)), True

    def _taken(self, number: int, grant: Grant) -> Task:
        self._budget.take(grant)
        self._slots += grant.slots
        self._tasks += 1
        return number, grant

    def leave(self) -> None:
        """Leave the share to other runs. Under the lock."""
        if self._is_hungry:
            self._is_hungry = False
            self._budget.hungry -= 1
            if self._budget.waiting:
                self._budget.changed.notify_all()


def _wide(costs: Sequence[Cost]) -> deque[int]:
    """Return the numbers of what takes several requests, the largest first, so that the end is no lonely file."""
    wide = [number for number, cost in enumerate(costs) if cost.slots > 1]
    return deque(sorted(wide, key=lambda number: -costs[number].weight))


def for_each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    budget: Budget,
    *,
    cost: Callable[[Item], Cost] | None = None,
) -> list[Result]:
    """Do `work` on every item in threads.

    The first failure stops new work; what is in flight comes to its own end, and then the failure is raised as it is.

    Parameters
    ----------
    work
        Called once an item.
    items
        What to work on.
    budget
        Bounds what is in flight.
    cost
        What an item takes from the budget; by default one request, and no bytes.

    Returns
    -------
    list
        What `work` returned, in order of the items.
    """
    costs = None if cost is None else [cost(item) for item in items]
    return for_each_granted(lambda item, _grant: work(item), items, budget, costs)


def for_each_granted(
    work: Callable[[Item, Grant], Result],
    items: Sequence[Item],
    budget: Budget,
    costs: Sequence[Cost] | None,
    *,
    stop: Event | None = None,
    observed: bool = False,
) -> list[Result]:
    """Do as `for_each` does, and tell `work` what the item was granted.

    Parameters
    ----------
    work, items, budget
        As `for_each` has them.
    costs
        What each item takes from the budget.
    stop
        Set at the first failure. Who sets it stops new work.
    observed
        Whether these are the requests from which a budget without a fixed limit learns.
    """
    if not items:
        return []
    run = _Run(work, items, budget, costs, stop=stop or Event(), observed=observed)
    has_begun = False
    try:
        run.start()
        has_begun = True
        run.ended.wait()
    except BaseException as error:
        run.fail(error)
        if has_begun:
            run.ended.wait()
        raise
    finally:
        with budget.lock:
            run.leave()
    if run.failure is not None:
        raise run.failure
    return run.results  # type: ignore[return-value]  # nothing failed, so none is missing
