"""The port of S3's engines, and multipart uploads for those that only send requests."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Semaphore
from typing import TypeVar

from wildcast_server.errors import MultipartError, NetworkError, StoreError
from wildcast_server.store._s3_site import S3Site
from wildcast_server.store.base import Later, ObjectAttributes, PutEnded
from wildcast_server.store.retry import RetryPolicy

Result = TypeVar("Result")

Repeat = Callable[[Callable[[], Result]], Result]

ABORTING = RetryPolicy(deadline=10.0, max_retries=5)
"""For what is a courtesy: a store that was away for as long as requests are repeated is not waited for once more."""


class _GivenUpError(Exception):
    """A part that is not sent any more, because another one failed."""


class S3Writer(ABC):
    """Writes objects to one bucket; what it raises is as `ObjectStore` has it.

    Its `put` makes one try, for the store repeats it; its `put_parts` repeats the requests that it is made of.
    """

    name: str
    """For the log."""
    begins: bool = False
    """Whether `begin_put` returns before the object is written."""

    @abstractmethod
    def put(self, path: str, data: bytes, attributes: ObjectAttributes | None, *, if_absent: bool) -> str | None:
        """Write an object in one request; return its ETag as the store gave it."""

    def begin_put(
        self, path: str, data: bytes, attributes: ObjectAttributes | None, ended: PutEnded, later: Later
    ) -> None:
        """Begin to write an object in one request, or write it now; `ended` is told of the end of this one try.

        An error that it is told of is to be `translated`.
        """
        del later
        try:
            etag = self.put(path, data, attributes, if_absent=False)
        except StoreError as error:
            ended(None, error)
        else:
            ended(etag, None)

    def translated(self, path: str, error: BaseException) -> BaseException:
        """Return the error of ours for what `begin_put` told of."""
        del path
        return error

    @abstractmethod
    def put_parts(
        self,
        path: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None,
        if_absent: bool,
    ) -> str | None:
        """Write an object as a multipart upload; return its ETag as the store gave it."""


@dataclass(frozen=True)
class Part:
    """A part that the store has."""

    number: int
    """From 1."""
    etag: str
    checksum: str | None
    """The CRC64NVME that was sent, in base64."""


class RequestWriter(S3Writer):
    """A writer that makes each request itself; what follows is in terms of them.

    Parameters
    ----------
    site
        Where to.
    repeat
        Calls what makes one request as often as is worth it.
    checksums
        Whether to send a CRC64NVME along.
    """

    def __init__(self, site: S3Site, repeat: Callable[[Callable[[], object]], object], *, checksums: bool) -> None:
        self._site = site
        self._repeat = repeat
        self._checksums = checksums

    @abstractmethod
    def create(self, path: str, attributes: ObjectAttributes | None) -> str:
        """Begin a multipart upload; return its id."""

    @abstractmethod
    def upload(self, path: str, upload: str, number: int, data: bytes) -> Part:
        """Send a part."""

    @abstractmethod
    def complete(self, path: str, upload: str, parts: list[Part], *, if_absent: bool) -> str | None:
        """Make an object of the parts; return its ETag."""

    @abstractmethod
    def abort(self, path: str, upload: str) -> None:
        """Give the parts up."""

    def put_parts(
        self,
        path: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None,
        if_absent: bool,
    ) -> str | None:
        del part_size
        upload = self._repeated(lambda: self.create(path, attributes))
        try:
            done = self._send(path, upload, parts, concurrency)
            return self._repeated(lambda: self.complete(path, upload, done, if_absent=if_absent))
        except MultipartError as error:
            # Whoever repeats the whole begins another one.
            raise NetworkError(str(error), error.uri) from error
        except BaseException:
            # Whatever it was is what counts; an upload that cannot even be aborted is swept later.
            with suppress(StoreError):
                ABORTING.call(lambda: self.abort(path, upload))
            raise

    def _send(self, path: str, upload: str, parts: Iterable[bytes], concurrency: int) -> list[Part]:
        """Send all parts, `concurrency` at a time; the first failure ends it, repetitions too, and is raised."""
        failures: list[BaseException] = []
        free = Semaphore(concurrency)
        sending: deque[Future[Part]] = deque()

        def attempt(number: int, data: bytes) -> Part:
            if failures:
                raise _GivenUpError
            return self.upload(path, upload, number, data)

        def send(number: int, data: bytes) -> Part:
            try:
                return self._repeated(lambda: attempt(number, data))
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                free.release()

        with ThreadPoolExecutor(concurrency, thread_name_prefix="parts") as pool:
            try:
                for number, data in enumerate(parts, 1):
                    free.acquire()
                    if failures:
                        break
                    sending.append(pool.submit(send, number, data))
            except BaseException as error:
                failures.append(error)
                raise
        if failures:
            raise failures[0]
        return [part.result() for part in sending]

    def _repeated(self, work: Callable[[], Result]) -> Result:
        result: Result = self._repeat(work)  # type: ignore[assignment]
        return result
