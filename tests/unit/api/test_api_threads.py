"""Blocking work beside the event loop."""

import asyncio
import itertools
import threading
import time

import pytest

from wildcast_server.api.threads import Once, Threads, Together


@pytest.fixture
def threads():
    """Four threads."""
    opened = Threads("test", 4)
    yield opened
    opened.close(time.monotonic() + 5)


def doubled(items):
    return [2 * item for item in items]


async def gathered(work, items):
    return await asyncio.gather(*map(work, items), return_exceptions=True)


def test_each_gets_its_own_outcome(threads):
    """Whoever they are worked on with."""
    assert asyncio.run(gathered(Together(doubled, threads), range(100))) == doubled(range(100))


def test_what_comes_together_is_one_call(threads):
    """The first begins alone, and all that come meanwhile are the second."""
    batches = []
    together = Together(lambda items: batches.append(list(items)) or items, threads, pace=0)

    async def main():
        first = asyncio.create_task(together(0))
        await asyncio.sleep(0)
        await gathered(together, range(1, 50))
        await first

    asyncio.run(main())
    assert sorted(itertools.chain(*batches)) == list(range(50))
    assert len(batches) <= 3


def test_batches_keep_their_pace(threads):
    """However fast the work is, with several callers it begins once in that time."""
    begun = []
    together = Together(lambda items: begun.append(time.monotonic()) or items, threads, pace=0.1)

    async def main():
        for _ in range(5):
            await gathered(together, range(2))

    asyncio.run(main())
    assert len(begun) >= 5
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(begun))


def test_who_is_alone_does_not_wait(threads):
    """One caller's calls follow each other at once."""
    together = Together(doubled, threads, pace=60)

    async def main():
        return [await together(number) for number in range(20)]

    assert asyncio.run(asyncio.wait_for(main(), 30)) == doubled(range(20))


def test_a_question_is_answered_with_what_was_true_after_it(threads):
    """One that comes while a batch is being worked on is not given that batch's outcome."""
    value = 0
    entered, go_on = threading.Event(), threading.Event()

    def read(items):
        seen = value
        entered.set()
        assert go_on.wait(10)
        return [seen] * len(items)

    async def main():
        nonlocal value
        together = Together(read, threads, pace=0)
        first = asyncio.create_task(together(1))
        await asyncio.to_thread(entered.wait, 10)
        value = 1
        second = asyncio.create_task(together(1))
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(first, second)

    assert asyncio.run(main()) == [0, 1]


def test_one_bad_item_fails_alone(threads):
    """An exception among the outcomes is raised to its caller."""

    def halves(items):
        return [ValueError(item) if item % 2 else item // 2 for item in items]

    outcomes = asyncio.run(gathered(Together(halves, threads), range(4)))
    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int, ValueError]


def test_a_failure_of_all_is_everybodys_and_the_next_batch_works(threads):
    """Nobody waits for ever."""
    broken = True

    def work(items):
        if broken:
            raise OSError("away")
        return items

    async def main():
        nonlocal broken
        together = Together(work, threads, pace=0)
        outcomes = await gathered(together, range(3))
        broken = False
        return outcomes, await together(7)

    outcomes, last = asyncio.run(main())
    assert [str(outcome) for outcome in outcomes] == ["away"] * 3
    assert last == 7


def test_who_goes_away_takes_nobody_along(threads):
    """The others of the batch are answered."""
    go_on = threading.Event()

    def work(items):
        assert go_on.wait(10)
        return items

    async def main():
        together = Together(work, threads)
        tasks = [asyncio.create_task(together(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, last = asyncio.run(main())
    assert (first, last) == (0, 2)
    assert isinstance(gone, asyncio.CancelledError)


def test_the_same_is_done_once_at_a_time():
    """Those who ask meanwhile share it, one of them leaving or not; whoever asks later has it done anew."""
    calls = []

    async def main():
        once = Once()

        async def work():
            calls.append(1)
            await asyncio.sleep(0.02)
            return len(calls)

        waiting = [asyncio.create_task(once("key", work)) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        shared = await asyncio.gather(*waiting, return_exceptions=True)
        return shared[1:], await once("key", work)

    assert asyncio.run(main()) == ([1, 1, 1, 1], 2)


def test_no_more_threads_than_were_allowed(threads):
    """They run side by side, as many as there may be, and the rest waits its turn."""
    seen, most, lock = set(), 0, threading.Lock()
    busy = 0

    def work():
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            seen.add(threading.current_thread().name)
        time.sleep(0.01)
        with lock:
            busy -= 1

    async def main():
        await asyncio.gather(*(threads.run(work) for _ in range(20)))

    asyncio.run(main())
    assert (len(seen), most) == (4, 4)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
def test_nothing_that_work_raises_ends_its_thread(kind):
    """A workflow's validator may call `sys.exit`: its caller is told, the loop goes on, and so does the only thread."""
    threads = Threads("ending", 1)

    def work():
        raise kind

    async def main():
        with pytest.raises(RuntimeError, match=kind.__name__) as caught:
            await asyncio.wait_for(threads.run(work), 10)
        assert isinstance(caught.value.__cause__, kind)
        return await asyncio.wait_for(threads.run(int), 10)

    assert asyncio.run(main()) == 0
    threads.close(time.monotonic() + 5)


def test_a_hanging_thread_holds_no_other_up(threads):
    """While there may be more of them: no work waits behind what never ends."""
    hang = threading.Event()

    async def main():
        stuck = [asyncio.create_task(threads.run(hang.wait, 30)) for _ in range(3)]
        for _ in range(20):
            assert await asyncio.wait_for(threads.run(int), 10) == 0
        hang.set()
        await asyncio.gather(*stuck)

    asyncio.run(main())


def test_threads_end_when_they_are_closed():
    """Those that are free, at once; one that hangs is not waited for longer than that, and is a daemon."""
    threads, hang = Threads("closing", 2), threading.Event()

    async def main():
        await threads.run(int)
        stuck = asyncio.create_task(threads.run(hang.wait, 30))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        threads.close(began + 0.1)
        stuck.cancel()
        return time.monotonic() - began

    assert asyncio.run(main()) < 5
    left = [thread for thread in threading.enumerate() if thread.name.startswith("closing")]
    assert all(thread.daemon for thread in left)
    hang.set()
    for thread in left:
        thread.join(10)
        assert not thread.is_alive()
