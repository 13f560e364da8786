"""Do many things at a time, within one bound on their number and one on the memory that they hold."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """What one task takes from the budget while it runs."""

    slots: int = 1
    """Requests in flight at the same time."""
    bytes: int = 0
    """Of memory."""


class Budget:
    """How many requests may be in flight, and how many bytes they may hold together.

    Parameters
    ----------
    slots
        Requests.
    memory
        Bytes.
    """

    def __init__(self, slots: int, memory: int) -> None:
        self.slots = slots
        self.memory = memory
        self._free = Cost(slots, memory)
        self._changed = Condition()

    def acquire(self, cost: Cost) -> Cost:
        """Wait until there is room; return what was taken, which is all for who asks for more than there is."""
        taken = Cost(min(cost.slots, self.slots), min(cost.bytes, self.memory))
        with self._changed:
            self._changed.wait_for(lambda: taken.slots <= self._free.slots and taken.bytes <= self._free.bytes)
            self._free = Cost(self._free.slots - taken.slots, self._free.bytes - taken.bytes)
        return taken

    def release(self, taken: Cost) -> None:
        """Give back what `acquire` returned."""
        with self._changed:
            self._free = Cost(self._free.slots + taken.slots, self._free.bytes + taken.bytes)
            self._changed.notify_all()


def _one(_item: object) -> Cost:
    return Cost()


class _Run:
    """One call of `for_each`: its first failure, and the flag that stops it."""

    def __init__(self, budget: Budget, stop: Event) -> None:
        self.budget = budget
        self.stop = stop
        self.failure: BaseException | None = None

    def task(self, work: Callable[[], None], taken: Cost) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits
            if not self.stop.is_set():
                self.failure = error
                self.stop.set()
        finally:
            self.budget.release(taken)


def for_each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    budget: Budget,
    *,
    cost: Callable[[Item], Cost] = _one,
    stop: Event | None = None,
) -> list[Result]:
    """Do `work` on every item in threads, in order of the items as far as starting goes.

    The first failure stops new work; what is in flight comes to its own end, unless `work` looks at `stop`.

    Parameters
    ----------
    work
        Called once an item.
    items
        What to work on.
    budget
        Bounds what is in flight.
    cost
        What an item takes from the budget.
    stop
        Set at the first failure.

    Returns
    -------
    list
        What `work` returned, in order of the items.
    """
    run = _Run(budget, stop or Event())
    results: dict[int, Result] = {}

    def start(number: int, item: Item) -> Callable[[], None]:
        return lambda: results.__setitem__(number, work(item))

    with ThreadPoolExecutor(budget.slots, thread_name_prefix="transfer") as pool:
        try:
            for number, item in enumerate(items):
                taken = budget.acquire(cost(item))
                if run.stop.is_set():
                    budget.release(taken)
                    break
                pool.submit(run.task, start(number, item), taken)
        except BaseException:
            run.stop.set()
            raise
    if run.failure is not None:
        raise run.failure
    return [results[number] for number in range(len(items))]
