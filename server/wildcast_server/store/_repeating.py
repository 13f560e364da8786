"""A store that repeats its requests, renews its credentials, and counts both."""

import time
from abc import ABC
from collections.abc import Callable
from threading import Lock, Thread
from typing import TypeVar

from wildcast_server.errors import CredentialsExpiredError, SlowDownError, StoreError
from wildcast_server.store.base import Later, ObjectStore, PutEnded
from wildcast_server.store.retry import WORTH_ANOTHER_TRY, RetryPolicy

Result = TypeVar("Result")


class RepeatingStore(ObjectStore, ABC):
    """What every store has that is reached through a network.

    Parameters
    ----------
    retry
        How requests are repeated.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._counting = Lock()
        self._slow_downs = self._retries = 0

    @property
    def slow_downs(self) -> int:
        return self._slow_downs

    @property
    def retries(self) -> int:
        return self._retries

    def _repeated(self, work: Callable[[], Result]) -> Result:
        """Make a request as often as `retry` says."""
        return self._retry.call(work, self._judge, self._count)

    def _renewing(self, work: Callable[[], Result]) -> Result:
        """Make a request that the driver itself repeats, but for credentials that have ended."""
        return self._retry.call(
            work, lambda error, began: _has_expired(error) and self._judge(error, began), self._count
        )

    def _again(self, error: StoreError, began: float, work: Callable[[], Result]) -> Result:
        """Go on with a request whose first try, which began at `began`, failed."""
        return self._retry.call(work, self._judge, self._count, failed=(error, began))

    def _first_ended(
        self,
        translated: Callable[[BaseException], BaseException],
        work: Callable[[], str | None],
        ended: PutEnded,
        later: Later,
    ) -> PutEnded:
        """Return what takes in the end of the first try of a put that begins now.

        Parameters
        ----------
        translated
            Makes an error of ours of a driver's.
        work
            Makes another try. A request that is repeated needs a thread, which sleeps between the tries.
        ended, later
            As `begin_put` has them.
        """
        began = time.monotonic()

        def repeat(first: StoreError) -> None:
            try:
                etag = self._again(first, began, work)
            except BaseException as last:  # noqa: BLE001 - whoever waits for the end is told of it, whatever it is
                later((ended, (None, last)))
            else:
                later((ended, (etag, None)))

        def first_ended(etag: str | None, error: BaseException | None) -> None:
            if error is None:
                ended(etag, None)
                return
            ours = translated(error)
            if ours is not error:
                ours.__cause__ = error
            if not isinstance(ours, WORTH_ANOTHER_TRY):
                ended(None, ours)
                return
            try:
                Thread(target=repeat, args=(ours,), name="store").start()
            except RuntimeError:  # no more threads to be had
                ended(None, ours)

        return first_ended

    def _judge(self, error: StoreError, began: float) -> bool:
        """Take note of a failure, and say whether the request may succeed when it is made again."""
        self._met(error)
        return not _has_expired(error) or self._renew(began)

    def _count(self) -> None:
        with self._counting:
            self._retries += 1

    def _met(self, error: BaseException) -> BaseException:
        if isinstance(error, SlowDownError):
            with self._counting:
                self._slow_downs += 1
        return error

    def _renew(self, before: float) -> bool:
        """Whether there may be other credentials than those that were in use before a moment."""
        del before
        return False


def _has_expired(error: StoreError) -> bool:
    return isinstance(error, CredentialsExpiredError)
