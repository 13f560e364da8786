"""Many things at a time that are only begun, and tell later that they have ended."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock
from typing import Any

import pytest

from wildcast_server.transfer.budget import Budget, Cost
from wildcast_server.transfer.pool import STARTED, for_each_granted


class Driver:
    """Ends what was begun, in threads of its own, and counts."""

    def __init__(self, seconds: float = 0.001) -> None:
        self._pool = ThreadPoolExecutor(32)
        self._seconds = seconds
        self._lock = Lock()
        self.now = self.peak = self.bytes = self.peak_bytes = 0
        self.threads: set[int] = set()

    def begin(self, item: int, size: int, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        self.threads.add(threading.get_ident())
        self._count(1, size)
        self._pool.submit(self._end, item, size, end, later)
        return STARTED

    def _end(self, item: int, size: int, end: Callable[..., None], later: Callable[[Any], None]) -> None:
        time.sleep(self._seconds)
        self._count(-1, -size)
        later((end, (item, item * 2, None)))

    def _count(self, number: int, size: int) -> None:
        with self._lock:
            self.now += number
            self.bytes += size
            self.peak, self.peak_bytes = max(self.peak, self.now), max(self.peak_bytes, self.bytes)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def driver():
    """A driver that takes a thousandth of a second for each thing."""
    made = Driver()
    yield made
    made.close()


def _conclude(item: int, kept: int, value: int, error: BaseException | None) -> int:
    assert item == kept
    if error is not None:
        raise error
    return value


def _is_idle(budget: Budget) -> bool:
    return (budget.in_flight, budget.bytes_used, budget.hungry, budget.waiting) == (0, 0, 0, 0)


@pytest.mark.parametrize("limit", [1, 3, 64])
def test_results_keep_the_order(driver: Driver, limit: int):
    """What comes back is in order of the items, each done once, never more at a time than allowed, by few threads."""
    budget = Budget(limit, 1)
    results = for_each_granted(
        lambda item, _grant, end, later: driver.begin(item, 0, end, later), range(500), budget, None, conclude=_conclude
    )
    assert results == list(range(0, 1000, 2))
    assert driver.peak <= limit
    assert len(driver.threads) <= 4
    assert _is_idle(budget)


def test_all_slots_are_used(driver: Driver):
    """As many are on their way as the limit says: fewer would never meet at this barrier."""
    barrier = Barrier(16)

    def begin(item: int, _grant: object, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        def meet() -> None:
            barrier.wait(20)
            later((end, (item, item, None)))

        driver._pool.submit(meet)
        return STARTED

    assert for_each_granted(begin, range(64), Budget(16, 1), None, conclude=_conclude) == list(range(64))


def test_bytes_are_bounded(driver: Driver):
    """Things of very different sizes never hold more than the memory while they are on their way."""
    sizes = [300_000, 1, 700_000, 1_000_000, 20] * 40
    budget = Budget(16, 1_000_000)
    for_each_granted(
        lambda size, _grant, end, later: driver.begin(size, size, end, later),
        sizes,
        budget,
        [Cost(1, size) for size in sizes],
        conclude=lambda *_: 0,
    )
    assert 700_000 <= driver.peak_bytes <= 1_000_000
    assert _is_idle(budget)


@pytest.mark.parametrize("where", ["begin", "end", "conclude"])
def test_a_failure_goes_on_as_it_is(driver: Driver, where: str):
    """Whether beginning fails, the thing itself or its conclusion: it is raised, and what was begun is waited for."""
    failure = KeyError("seven")
    concluded: list[int] = []

    def begin(item: int, _grant: object, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        if item == 7 and where == "begin":
            raise failure
        if item == 7 and where == "end":
            later((end, (item, None, failure)))
            return STARTED
        return driver.begin(item, 0, end, later)

    def conclude(item: int, kept: int, value: int, error: BaseException | None) -> int:
        if item == 7 and where == "conclude":
            raise failure
        concluded.append(item)
        return _conclude(item, kept, value, error)

    budget = Budget(8, 1)
    with pytest.raises(KeyError) as caught:
        for_each_granted(begin, range(1000), budget, None, conclude=conclude)
    assert caught.value is failure
    assert driver.now == 0
    assert set(range(7)) <= set(concluded)
    assert len(concluded) < 100
    assert _is_idle(budget)


def test_some_block_and_some_go_on(driver: Driver):
    """Where beginning turns out to be doing, and beside tasks of several requests, all come to their end."""

    def work(item: int, grant: Any, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        if grant.slots > 1 or item % 3 == 0:
            time.sleep(0.001)
            return item * 2
        return driver.begin(item, 0, end, later)

    costs = [Cost(4, 10, 20, 50) if number % 50 == 0 else Cost(1, 1) for number in range(400)]
    budget = Budget(8, 1000)
    assert for_each_granted(work, range(400), budget, costs, conclude=_conclude) == list(range(0, 800, 2))
    assert _is_idle(budget)


def test_an_end_before_the_beginning_is_over():
    """What ends at once, in the thread that begins it, is concluded as well."""

    def begin(item: int, _grant: object, end: Callable[..., None], _later: object) -> Any:
        end(item, item, None)
        return STARTED

    assert for_each_granted(begin, range(300), Budget(4, 1), None, conclude=_conclude) == list(range(300))


def test_more_threads_begin_where_beginning_is_slow():
    """With a disk that takes 20 ms for a file, one thread alone would need eight seconds for these."""
    driver = Driver(0)
    gauge = Driver(0)

    def begin(item: int, _grant: object, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        gauge._count(1, 0)
        time.sleep(0.02)
        gauge._count(-1, 0)
        return driver.begin(item, 0, end, later)

    for_each_granted(begin, range(400), Budget(64, 1), None, conclude=_conclude)
    driver.close()
    gauge.close()
    assert gauge.peak >= 8


def test_two_runs_share_one_budget(driver: Driver):
    """While a long run is going on, a second one gets its turn, and both together keep to the limit."""
    budget, second_is_done = Budget(4, 1), Event()

    def begin(item: int, _grant: object, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        if second_is_done.is_set():
            end(item, item, None)
            return STARTED
        return driver.begin(item, 0, end, later)

    def run(number: int) -> None:
        for_each_granted(begin, range(number), budget, None, conclude=lambda *_: 0)

    first = threading.Thread(target=run, args=(20_000,))
    first.start()
    run(20)
    was_going_on = first.is_alive()
    second_is_done.set()
    first.join()
    assert was_going_on
    assert driver.peak <= 4
    assert _is_idle(budget)


def test_ends_are_taken_in_while_others_block(driver: Driver):
    """What goes on by itself is concluded soon after it has ended, while every other thread is with a large one."""
    costs = [Cost(8, 1, 0, 10)] * 2 + [Cost(1, 1)] * 40
    left, all_small = [40], Event()

    def work(item: int, _grant: Any, end: Callable[..., None], later: Callable[[Any], None]) -> Any:
        if item < 2:
            # As long as it takes: whoever waits for the small ones must be another thread.
            assert all_small.wait(20)
            return item * 2
        return driver.begin(item, 0, end, later)

    def conclude(item: int, kept: int, value: int, error: BaseException | None) -> int:
        left[0] -= 1
        if not left[0]:
            all_small.set()
        return _conclude(item, kept, value, error)

    budget = Budget(16, 10**6)
    assert for_each_granted(work, range(42), budget, costs, conclude=conclude) == list(range(0, 84, 2))
    assert _is_idle(budget)


def test_a_call_that_raises_ends_the_run():
    """A driver's call that fails before it has told whose end it is: the run fails, and does not wait for ever."""
    failure = MemoryError("no more")

    def fail() -> None:
        raise failure

    def begin(_item: int, _grant: object, _end: object, later: Callable[[Any], None]) -> Any:
        later((fail, ()))
        return STARTED

    with pytest.raises(MemoryError) as caught:
        for_each_granted(begin, range(3), Budget(2, 1), None, conclude=_conclude)
    assert caught.value is failure
