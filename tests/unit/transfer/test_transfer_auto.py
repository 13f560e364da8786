"""The number of requests in flight that finds itself, in simulated time."""

import heapq
from collections.abc import Callable

import pytest

from wildcast_server.transfer.auto import AutoLimit


class Simulation:
    """A store of a certain latency and capacity, and a process that takes CPU time for each request.

    Parameters
    ----------
    latency
        Seconds that a request waits, however many there are.
    cost
        CPU seconds a request.
    servers
        Requests that the way to the store serves at a time, `service` seconds each.
    """

    def __init__(self, latency: float, cost: float = 1e-4, servers: int = 10_000, service: float = 0.0) -> None:
        self.latency, self.cost, self.servers, self.service = latency, cost, servers, service
        self.now = self.cpu = 0.0
        self.slow_downs = 0
        self.done = 0
        self.limit = AutoLimit(
            slow_downs=lambda: self.slow_downs, clock=lambda: self.now, cpu=lambda: min(self.cpu, self.now)
        )
        self.seen = [self.limit.limit]
        self.refuses_above: int | None = None

    def run(self, seconds: float, requests: int = 10**9) -> None:
        """Let requests come and go."""
        until, first = self.now + seconds, self.done
        ends: list[tuple[float, float]] = []
        busy = [self.now] * self.servers if self.service else []
        free_cpu = self.now
        while self.now < until and self.done - first < requests:
            while len(ends) < self.limit.limit:
                # The CPU does one after the other.
                free_cpu = max(free_cpu, self.now) + self.cost
                end = free_cpu + self.latency
                if busy:
                    end = max(end, busy[0])
                    heapq.heapreplace(busy, end + self.service)
                    end += self.service
                heapq.heappush(ends, (end, self.now))
            if self.refuses_above is not None and len(ends) > self.refuses_above:
                self.slow_downs += 1
            in_flight = len(ends)
            end, began = heapq.heappop(ends)
            self.now = max(self.now, end)
            self.cpu += self.cost
            self.done += 1
            self.limit.ended(began, 100_000, in_flight)
            self.seen.append(self.limit.limit)


def test_it_stays_where_there_is_no_latency():
    """Where the CPU is the bound, more than the first eight requests would be of no use."""
    simulation = Simulation(latency=0.0005)
    simulation.run(0.5)
    assert set(simulation.seen) == {8}


@pytest.mark.parametrize("latency", [0.03, 0.1, 0.3])
def test_it_ramps_within_two_round_trips(latency: float):
    """Where latency is the bound, as many as are allowed are in flight after two round trips."""
    simulation = Simulation(latency=latency)
    simulation.run(2.2 * latency)
    assert simulation.limit.limit >= 200


@pytest.mark.parametrize("latency", [0.0, 0.03, 0.1])
def test_it_is_as_fast_as_the_best_fixed_number(latency: float):
    """4,000 requests take at most 1.15 times as long as with the best of 16, 64 and 256."""

    def seconds(fixed: int | None) -> float:
        simulation = Simulation(latency=latency)
        if fixed is not None:
            simulation.limit = AutoLimit(first=fixed, most=fixed, clock=lambda: simulation.now, cpu=lambda: 0.0)
        simulation.run(100, requests=4000)
        return simulation.now

    assert seconds(None) <= 1.15 * min(map(seconds, (16, 64, 256)))


def test_it_returns_where_more_only_wait_longer():
    """Where forty requests at a time are all that the way carries, it settles near forty."""
    simulation = Simulation(latency=0.0, cost=1e-5, servers=40, service=0.05)
    simulation.run(20)
    settled = simulation.seen[len(simulation.seen) // 2 :]
    assert 40 <= sorted(settled)[len(settled) // 2] <= 80


def test_it_never_exceeds_the_cap():
    """However long the latency, there is a most."""
    simulation = Simulation(latency=1.0, cost=1e-6)
    simulation.run(30)
    assert max(simulation.seen) == 256


def test_slow_down_halves_at_once_and_recovers_slowly():
    """At 503 SlowDown the number is halved, once a round; then it grows by an eighth a second at most."""
    simulation = Simulation(latency=0.03)
    simulation.run(0.5)
    before = simulation.limit.limit
    simulation.slow_downs += 5
    simulation.run(0.02)
    assert simulation.limit.limit == before // 2
    simulation.run(0.9)
    assert simulation.limit.limit == before // 2
    simulation.run(1.2)
    assert before // 2 < simulation.limit.limit <= before // 2 * 9 // 8 * 9 // 8 + 1


def test_it_finds_what_the_store_bears():
    """A store that refuses more than fifty at a time is soon sent no more, nor much less."""
    simulation = Simulation(latency=0.03)
    simulation.refuses_above = 50
    simulation.run(10)
    late = simulation.seen[len(simulation.seen) // 2 :]
    assert max(late) <= 57
    assert min(late) >= 20


def test_it_never_falls_below_one():
    """A store that never stops complaining still gets one request at a time."""
    simulation = Simulation(latency=0.01)
    simulation.refuses_above = 0
    simulation.run(10)
    assert simulation.limit.limit == 1


@pytest.mark.parametrize("in_flight", [1, 4])
def test_it_does_not_grow_unless_used(in_flight: int):
    """Where files or memory keep fewer in flight than allowed, the limit stays."""
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731 - a list is all the state there is
    limit = AutoLimit(clock=clock, cpu=lambda: 0.0)
    for number in range(1000):
        now[0] = number * 0.03
        limit.ended(now[0] - 0.03, 1, in_flight)
    assert limit.limit == 8


@pytest.mark.parametrize(("round_trip", "expected"), [(0.002, 8), (0.026, 160), (0.1, 256)])
def test_it_begins_with_what_the_round_trip_asks_for(round_trip: float, expected: int):
    """A round trip that is known before the first upload saves the ramp."""
    simulation = Simulation(latency=round_trip)
    simulation.limit.expect(round_trip)
    assert simulation.limit.limit == expected


def test_what_was_measured_counts_more_than_a_guess():
    """Once uploads were measured, a round trip of a small request changes nothing."""
    simulation = Simulation(latency=0.0005)
    simulation.run(0.5)
    simulation.limit.expect(0.1)
    assert simulation.limit.limit == 8


def test_a_bad_guess_is_taken_back():
    """Where a narrow way, and no round trip, makes requests slow, there are soon far fewer than were guessed."""
    simulation = Simulation(latency=0.0, cost=1e-5, servers=4, service=0.05)
    simulation.limit.expect(0.1)
    simulation.run(15)
    assert min(simulation.seen[1:]) <= 32
