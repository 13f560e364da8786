"""Do many things at a time, within one bound on the requests in flight and one on the bytes that they hold.

Work either blocks the thread that does it, so that there are as many threads as requests in flight; or it only begins,
and tells later that it has ended. Then one thread begins one thing after another and takes in what has ended, and more
of them are there only where beginning itself is slow, as when files come from a slow disk.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Final, Generic, TypeVar

from wildcast_server.store.base import Call, Later
from wildcast_server.transfer.auto import AutoLimit
from wildcast_server.transfer.budget import Budget, Cost, Grant, Share, Task

Item = TypeVar("Item")
Result = TypeVar("Result")


class Started:
    """What work returns that goes on without a thread."""


STARTED: Final = Started()

End = Callable[[Any, Any, BaseException | None], None]
"""Called, in a thread of the pool, when work that was begun has ended: with what was kept, and what came of it."""

Conclude = Callable[[Item, Any, Any, BaseException | None], Result]
"""Called then, with the item and what `End` was given: returns the result, or raises."""

Work = Callable[[Item, Grant, End, Later], Result | Started]
"""Does an item, and returns the result; or begins it, returns `STARTED`, and has the `End` called once, by a call
that is left to `Later`."""

_PER_READER = 0.001
"""Seconds for beginning one thing, on average, for each of which another thread helps to begin."""

_INERTIA = 16
"""Over how many things that average goes, about."""

_BUNDLE = 16
"""Things that one thread begins one after the other, before it looks at what has ended; fewer if there is no room."""

_LINGER = 0.002
"""Seconds for which, after one end, another one is waited for."""

_QUICK = 0.0005
"""Seconds for beginning one thing, on average, below which they are begun in bundles."""

_LOOK_AGAIN = 0.5
"""Seconds after which who waits for room looks whether it was stopped."""


class _Run(Generic[Item, Result]):
    """One call of `for_each`: what is left to do, and what is in flight.

    Its threads take the next task when they have ended one, or begun one, and end when there is none or no room;
    whoever takes a task starts threads for others that fit: for all of them where tasks block. While tasks go on that
    were only begun, one thread stays and waits for their ends. What is called "under the lock" is called with the
    budget's lock held.
    """

    def __init__(
        self,
        work: Work[Item, Result],
        items: Sequence[Item],
        budget: Budget,
        costs: Sequence[Cost] | None,
        *,
        stop: Event,
        observed: bool,
        conclude: Conclude[Item, Result] | None,
        most: int | None,
    ) -> None:
        self._work, self._items, self._budget = work, items, budget
        self._stop = stop
        self._observed = observed and isinstance(budget.limiter, AutoLimit)
        self.results: list[Result | None] = [None] * len(items)
        self.failure: BaseException | None = None
        self.ended = Event()
        self._share = Share(budget, len(items), costs, most)
        self._conclude = conclude
        self._beginning = self._begun = 0
        self._pace = 0.0
        self._is_waiting = False
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._finished: deque[Task] = deque()

    def start(self, tasks: Sequence[Task] = ()) -> None:
        """Start a thread that begins with `tasks`."""
        Thread(target=self._worker, args=(tasks,), name="transfer").start()

    def fail(self, error: BaseException) -> None:
        """End the run: what is in flight comes to its end, and nothing else begins."""
        with self._budget.lock:
            if not self._stop.is_set():
                self.failure = error
                self._stop.set()
            self._budget.changed.notify_all()

    def _worker(self, tasks: Sequence[Task]) -> None:
        tasks = tasks or self._turn()
        while tasks:
            ended: list[Task] = []
            begun: list[Task] = []
            for task in tasks:
                is_wanted = task is tasks[0] or not self._stop.is_set()
                (begun if is_wanted and self._begin(task) else ended).append(task)
            tasks = self._again(ended) or self._turn(ended, begun)

    def _begin(self, task: Task) -> bool:
        """Do a task, or begin it; return whether it goes on by itself."""
        number, grant = task
        began = time.perf_counter()
        try:
            result = self._work(self._items[number], grant, partial(self._end, task, began), self._calls.put)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits
            self.fail(error)
            return False
        if isinstance(result, Started):
            self._pace += (time.perf_counter() - began - self._pace) / _INERTIA
            return True
        self.results[number] = result
        self._observe(task, began)
        return False

    def _end(self, task: Task, began: float, kept: Any, value: Any, error: BaseException | None) -> None:
        """Conclude a task that went on by itself, and note that it can be given back."""
        number, _ = task
        try:
            assert self._conclude is not None  # noqa: S101 - or nothing would have been begun
            self.results[number] = self._conclude(self._items[number], kept, value, error)
        except BaseException as failure:  # noqa: BLE001 - as above
            self.fail(failure)
        else:
            self._observe(task, began)
        self._finished.append(task)

    def _make_calls(self, awaited: int) -> None:
        """Make the calls that were left to the pool; wait for some of them, for a while."""
        calls, patience = self._calls, _LOOK_AGAIN
        while awaited > 0 or not calls.empty():
            try:
                call, arguments = calls.get(timeout=patience)
            except Empty:
                return
            try:
                call(*arguments)
            except BaseException as error:  # noqa: BLE001 - as above; nobody knows whose end it was, so none is waited for
                self.fail(error)
                self.ended.set()
            # They hold the bytes that were sent.
            del call, arguments
            awaited -= 1
            patience = _LINGER

    def _observe(self, task: Task, began: float) -> None:
        number, grant = task
        if not self._observed or grant.slots > 1:
            return
        # A measurement that is lost now and then does no harm, waiting for the lock would.
        if self._budget.lock.acquire(blocking=False):
            try:
                self._budget.limiter.ended(began, self._share.size(number), self._budget.in_flight)
            finally:
                self._budget.lock.release()

    def _again(self, ended: Sequence[Task]) -> Sequence[Task]:
        """Take the next task for what another was granted, where nothing has to be weighed.

        This is what happens nearly always where tasks block, and it takes no lock: hundreds of threads would queue at
        it.
        """
        if self._conclude or len(ended) != 1:
            return ()
        grant, budget = ended[0][1], self._budget
        if grant.slots > 1 or self._share.wide or self._stop.is_set() or budget.hungry > 1 or budget.waiting:
            return ()
        if budget.in_flight != budget.limiter.limit:
            return ()
        try:
            number = self._share.narrow.popleft()
        except IndexError:
            return ()
        if self._share.size(number) > grant.bytes:
            self._share.narrow.appendleft(number)
            return ()
        return ((number, grant),)

    def _turn(self, ended: Sequence[Task] = (), begun: Sequence[Task] = ()) -> Sequence[Task]:
        """Leave tasks that have ended, or go on by themselves; take others, and start threads for what else fits.

        Where some go on by themselves, and nothing can be taken before they have ended, one thread waits for them.
        """
        awaited = 0
        while True:
            if self._conclude:
                self._make_calls(awaited)
            with self._budget.lock:
                self._leave(ended, begun)
                ended = begun = ()
                self._is_waiting &= not awaited
                tasks = self._take_some()
                others = self._take_others() if tasks else []
                if not tasks and not self._share.tasks:
                    self.ended.set()
                must_wait = not tasks and self._begun > 0 and not (self._is_waiting or self.ended.is_set())
                awaited = self._enough() if must_wait else 0
                self._is_waiting |= awaited > 0
                # A task of several requests blocks: somebody else has to wait for what goes on by itself.
                is_alone = bool(tasks) and self._begun > 0 and not (self._beginning or self._is_waiting)
            self._start_all(others)
            if is_alone:
                self._start_waiting()
            if not awaited:
                return tasks

    def _enough(self) -> int:
        """Return for how many ends to wait: waking up for each would cost more than a few free slots do."""
        return min(self._begun, 1 + min(self._budget.limit, self._begun) // 8)

    def _take_some(self) -> list[Task]:
        """Take what one thread does next: one task, or several that are begun quickly. Under the lock."""
        first = self._take_or_wait()
        if first is None:
            return []
        tasks = [first]
        if self._conclude and self._pace < _QUICK and not self._share.wide and not self._share.is_wide(first[0]):
            while len(tasks) < _BUNDLE and not self._budget.waiting and (another := self._share.take_narrow()):
                self._beginning += 1
                tasks.append(another)
        return tasks

    def _leave(self, ended: Sequence[Task], begun: Sequence[Task]) -> None:
        """Take note that no thread is with these tasks any more, and of those that have ended since. Under the lock."""
        self._begun += len(begun)
        self._beginning -= sum(not self._share.is_wide(number) for number, _ in (*ended, *begun))
        for task in ended:
            self._share.give_back(task)
        while self._finished:
            # Below nothing for a moment, if it has ended before it was counted.
            self._begun -= 1
            self._share.give_back(self._finished.popleft())

    def _take_others(self) -> list[Task]:
        """Take what further threads are to do. Under the lock."""
        others: list[Task] = []
        while True:
            helps = self._conclude is None or self._beginning < 1 + int(self._pace / _PER_READER)
            if not (helps or self._share.wide) or not self._budget.has_room:
                return others
            another = self._take(narrow=helps)
            if another is None:
                return others
            others.append(another)

    def _start_waiting(self) -> None:
        try:
            self.start()
        except RuntimeError as error:  # no more threads to be had
            self.fail(error)

    def _start_all(self, tasks: list[Task]) -> None:
        try:
            while tasks:
                self.start(tasks[-1:])
                tasks.pop()
        except RuntimeError as error:  # no more threads to be had
            self.fail(error)
            with self._budget.lock:
                self._leave(tasks, ())

    def _take_or_wait(self) -> Task | None:
        """Take a task; wait for other runs if there is no room, and nothing of this one in flight. Under the lock."""
        budget = self._budget
        while (task := self._take()) is None and self._has_work() and not self._share.tasks:
            budget.waiting += 1
            budget.changed.wait(_LOOK_AGAIN)
            budget.waiting -= 1
        return task

    def _take(self, *, narrow: bool = True) -> Task | None:
        """Take a task if there is room for one, also one of a single request if `narrow`. Under the lock."""
        if not self._has_work():
            self._share.leave()
            return None
        task = self._share.take(narrow=narrow)
        if task is not None and not self._share.is_wide(task[0]):
            self._beginning += 1
        return task

    def _has_work(self) -> bool:
        return not self._stop.is_set() and bool(self._share.narrow or self._share.wide)

    def leave(self) -> None:
        """Leave the share to other runs. Under the lock."""
        self._share.leave()


def for_each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    budget: Budget,
    *,
    cost: Callable[[Item], Cost] | None = None,
    most: int | None = None,
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
    most
        Requests of these items that may be in flight, where that is fewer than the budget has.

    Returns
    -------
    list
        What `work` returned, in order of the items.
    """
    costs = None if cost is None else [cost(item) for item in items]

    def alone(item: Item, *_: object) -> Result:
        return work(item)

    return for_each_granted(alone, items, budget, costs, most=most)


def for_each_granted(
    work: Work[Item, Result],
    items: Sequence[Item],
    budget: Budget,
    costs: Sequence[Cost] | None,
    *,
    stop: Event | None = None,
    observed: bool = False,
    conclude: Conclude[Item, Result] | None = None,
    most: int | None = None,
) -> list[Result]:
    """Do as `for_each` does, and tell `work` what the item was granted; it need not wait for the item's end.

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
    conclude
        Concludes what `work` has begun; None if it never does. If it is given, `work` as a rule only begins items of
        one request, and few threads do.
    most
        As `for_each` has it.
    """
    if not items:
        return []
    run = _Run(work, items, budget, costs, stop=stop or Event(), observed=observed, conclude=conclude, most=most)
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
