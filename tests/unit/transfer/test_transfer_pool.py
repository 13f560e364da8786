"""Many things at a time: order, bounds, fairness between large and small, failures."""

import threading
import time
from threading import Barrier, Event, Lock

import pytest

from wildcast_server.transfer.auto import AutoLimit
from wildcast_server.transfer.budget import Budget, Cost, Grant
from wildcast_server.transfer.pool import for_each, for_each_granted


class Gauge:
    """Counts what is in flight."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.now = self.peak = 0

    def add(self, amount: int) -> None:
        with self._lock:
            self.now += amount
            self.peak = max(self.peak, self.now)


def _is_idle(budget: Budget) -> bool:
    return (budget.in_flight, budget.bytes_used, budget.hungry, budget.waiting) == (0, 0, 0, 0)


@pytest.mark.parametrize("limit", [1, 3, 64])
def test_results_keep_the_order(limit: int):
    """What comes back is in order of the items, each done once, however many run at a time."""
    budget = Budget(limit, 1)
    assert for_each(lambda number: number * 2, range(500), budget) == list(range(0, 1000, 2))
    assert _is_idle(budget)


def test_nothing_to_do():
    """No items are no results, and no threads."""
    assert for_each(str, [], Budget(3, 1)) == []


def test_all_slots_are_used_and_no_more():
    """As many run at the same time as the limit says: fewer would never meet at this barrier, more are counted."""
    gauge, barrier = Gauge(), Barrier(5)

    def work(_number: int) -> None:
        gauge.add(1)
        barrier.wait(20)
        gauge.add(-1)

    for_each(work, range(50), Budget(5, 1))
    assert gauge.peak == 5


def test_bytes_are_bounded():
    """Tasks of very different sizes never hold more than the memory, and all are done."""
    gauge, mib = Gauge(), 1 << 20
    sizes = [3 * mib, 100, 9 * mib, mib, 5 * mib + 1] * 40

    def work(size: int) -> int:
        gauge.add(size)
        time.sleep(0)
        gauge.add(-size)
        return size

    budget = Budget(16, 10 * mib)
    assert for_each(work, sizes, budget, cost=lambda size: Cost(1, size)) == sizes
    assert 5 * mib < gauge.peak <= 10 * mib
    assert _is_idle(budget)


COSTS = {1: Cost(1, 1), 800: Cost(4, 10, 20, 800), 900: Cost(4, 10, 20, 900)}
MIXED = [1] * 20 + [800, 900]


def test_the_largest_begin_first():
    """One at a time, large files come before small ones, the largest first."""
    begun: list[int] = []
    costs = [COSTS[item] for item in MIXED]
    for_each_granted(lambda item, _grant, *_: begun.append(item), MIXED, Budget(1, 1000), costs)
    assert begun == [900, 800, *[1] * 20]


def test_small_and_large_run_beside_each_other():
    """Small files do not wait for a large one, nor it for them."""
    large_began, small_ended = Event(), Event()

    def work(size: int, _grant: Grant, *_: object) -> bool:
        if size == 1:
            small_ended.set()
            return large_began.wait(20)
        large_began.set()
        return small_ended.wait(20)

    costs = [COSTS[item] for item in MIXED]
    assert all(for_each_granted(work, MIXED, Budget(8, 1000), costs))


def test_grants_together_keep_to_the_limit():
    """What large and small tasks are granted together is never more than there is."""
    slots, held, budget = Gauge(), Gauge(), Budget(6, 100)

    def work(_item: int, grant: Grant, *_: object) -> None:
        slots.add(grant.slots)
        held.add(grant.bytes)
        time.sleep(0.001)
        held.add(-grant.bytes)
        slots.add(-grant.slots)

    costs = [Cost(8, 10, 20, 5) if number % 7 == 0 else Cost(1, 0) for number in range(100)]
    for_each_granted(work, range(100), budget, costs)
    assert 4 <= slots.peak <= 6
    assert held.peak <= 100
    assert _is_idle(budget)


def test_two_runs_share_one_budget():
    """While a long run is going on, a second one gets its turn, and both together keep to the limit."""
    budget, gauge, second_is_done = Budget(4, 1), Gauge(), Event()

    def long(_number: int) -> None:
        gauge.add(1)
        time.sleep(0.002)
        gauge.add(-1)

    def endless():
        return for_each(lambda number: None if second_is_done.is_set() else long(number), range(20_000), budget)

    first = threading.Thread(target=endless)
    first.start()
    for_each(long, range(20), budget)
    was_going_on = first.is_alive()
    second_is_done.set()
    first.join()
    assert was_going_on
    assert gauge.peak <= 4
    assert _is_idle(budget)


def test_a_failure_goes_on_as_it_is():
    """The first exception is raised as it was; what was in flight came to its end; little else began."""
    done: list[int] = []
    failed = Event()
    failure = KeyError("seven")

    def work(number: int) -> None:
        if number == 1:
            failed.set()
            raise failure
        if number == 0:
            assert failed.wait(20)
        done.append(number)

    budget = Budget(2, 1)
    with pytest.raises(KeyError) as caught:
        for_each(work, range(1000), budget)
    assert caught.value is failure
    assert 0 in done
    assert len(done) < 10
    assert _is_idle(budget)


def test_threads_come_as_the_limit_grows():
    """With a limit that finds itself there are sixteen threads at first, and more only when it grew."""
    budget, gauge = Budget(AutoLimit(cpu=lambda: 0.0), 1), Gauge()

    def work(_number: int, _grant: Grant, *_: object) -> int:
        gauge.add(1)
        time.sleep(0.03)
        peak = gauge.peak
        gauge.add(-1)
        return peak

    peaks = for_each_granted(work, range(400), budget, None, observed=True)
    assert peaks[0] <= 16
    assert 16 < max(peaks) <= 256
    assert _is_idle(budget)


def test_whoever_sets_stop_ends_the_run():
    """When `stop` is set from outside, nothing new begins, and nothing is left in flight."""
    budget, stop = Budget(2, 1), Event()
    done: list[int] = []

    def work(number: int, _grant: Grant, *_: object) -> None:
        done.append(number)
        if number == 5:
            stop.set()

    for_each_granted(work, range(1000), budget, None, stop=stop)
    assert len(done) < 20
    assert _is_idle(budget)
