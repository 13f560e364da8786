"""Watching an execution until it ends, by the best way that its server has.

==============  ===================================================================================
events          `GET …/events`; taken up again with ``Last-Event-ID`` where a stream was lost
long polls      `GET …/status?wait=`; where there are no events, or the deadline is near
looks           `GET …/status`, again and again; of Earth2Studio's server, which has neither
==============  ===================================================================================

Whatever way fails, a plain look tells whether the server is there at all; it may be gone for a restart. So a proxy that
breaks streams or long requests costs a moment, and then the next way is used.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from wildcast._asking import asked_once
from wildcast._calls import Look, Target, events, look
from wildcast._endpoint import Endpoint
from wildcast._errors import ApiError, ServerBusyError, ServerUnavailableError, WaitTimeoutError
from wildcast._events import EndEvent, Event, Message, Parser, ProgressEvent, StatusEvent, UploadEvent
from wildcast._flows import Close, Flow, Next, Open, Sleep, Stream
from wildcast._waiting import FIRST_PAUSE, patient, pauses
from wildcast.contract.wire import Ended, StatusAnswer, TransferStatus

if TYPE_CHECKING:
    import httpx

SILENCE = 20.0
"""Seconds without a byte after which a stream is lost; a server of ours sends a comment after 15."""

LONGEST_POLL = 50.0
"""Seconds that one long poll is to last: less than the minute after which many proxies give up."""

GRACE = 0.4
"""Seconds that a request may outlast the deadline."""

PUBLICATION = "publication"
"""The member of a status's progress that is about publishing, and not the workflow's."""

_FAR = 86_400.0
"""Seconds; a deadline beyond is no request's concern."""

_TRIES = 3
"""So often in a row a way may fail before the next one is used."""

_SHORT = 3.0
"""Seconds; a stream that is lost sooner has failed."""

_NOT_THERE = frozenset({400, 404, 405, 406, 422, 501})
"""What a server answers that does not have a call, or not with this parameter."""


class Watch:
    """Tells what happens to one execution.

    Parameters
    ----------
    endpoint
        The server.
    target
        The execution.
    deadline
        Until when, on the monotonic clock in seconds; None for as long as it takes.
    may_listen
        Whether it may keep a connection open, as events and long polls do.
    """

    def __init__(
        self, endpoint: Endpoint, target: Target, deadline: float | None = None, *, may_listen: bool = True
    ) -> None:
        self._endpoint, self._target = endpoint, target
        self._deadline = math.inf if deadline is None else deadline
        kept_open = [self._by_events, self._by_long_poll] if may_listen else []
        self._ways: deque[Callable[[], Flow[None]]] = deque([*kept_open, self._by_look])
        self._told: deque[Event] = deque()
        self._stream: Stream | None = None
        self._parser = Parser()
        self._last_id: str | None = None
        self._began = 0.0
        self._failures, self._pauses = 0, pauses()
        self._answer: StatusAnswer | None = None
        self._etag: str | None = None
        self._knows_versions = False

    @property
    def answer(self) -> StatusAnswer:
        """Where the execution stands, as far as it has been told."""
        if self._answer is None:
            raise LookupError("Nothing is known before the first event.")
        return self._answer

    def next(self) -> Flow[Event]:
        """Return the next event; the last one is an `EndEvent`.

        Raises
        ------
        WaitTimeoutError
            If the deadline passes before there is one, whether the server is there or not.
        ApiError
            If the server answers with an error, or stays away for longer than a restart takes.
        """
        while not self._told:
            if self._answer is None:
                yield from self._look()
            elif self._left <= 0:
                yield from self._lose_stream()
                raise self._late(f"is still {self._answer.status}")
            else:
                yield from self._ways[0]()
        return self._told.popleft()

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    # Each way goes on until something may have happened; `next` looks whether it has.

    def _by_events(self) -> Flow[None]:
        if self._left <= SILENCE:
            # A stream cannot be left at a moment of one's own.
            yield from self._lose_stream()
            yield from self._by_long_poll()
        elif self._stream is None:
            yield from self._connect()
        else:
            yield from self._listen(self._stream)

    def _connect(self) -> Flow[None]:
        import httpx

        try:
            stream = yield Open(events(self._target, self._last_id, SILENCE, self._within))
        except httpx.RequestError:
            yield from self._fail()
            return
        response = stream.response
        if _is_event_stream(response):
            self._stream, self._parser, self._began = stream, Parser(self._last_id), time.monotonic()
            return
        yield Close(stream)
        is_other = response.is_success and response.status_code != HTTPStatus.NO_CONTENT
        if is_other or response.status_code in _NOT_THERE:
            self._leave_way()
        else:
            yield from self._fail()

    def _listen(self, stream: Stream) -> Flow[None]:
        import httpx

        try:
            chunk = yield Next(stream)
        except httpx.RequestError:
            chunk = None
        if chunk is None:
            yield from self._lose_stream()
            yield from self._fail(is_hopeless=self._last_id is None)
            return
        try:
            self._hear_all(self._parser.feed(chunk))
        except msgspec.DecodeError:
            # Not our server's events: it is asked in another way.
            yield from self._lose_stream()
            yield from self._fail(is_hopeless=True)
        if time.monotonic() - self._began > _SHORT:
            self._succeed()

    def _lose_stream(self) -> Flow[None]:
        stream, self._stream = self._stream, None
        if stream is not None:
            yield Close(stream)

    def _by_long_poll(self) -> Flow[None]:
        if not self._knows_versions:
            self._leave_way_to(self._by_look)
            return
        seconds, began = min(LONGEST_POLL, max(0.001, self._left)), time.monotonic()
        call = look(self._target, self._timeout(seconds), self._within, wait=seconds, etag=self._etag)
        try:
            is_news = self._see((yield from asked_once(self._endpoint, call)))
        except ApiError as error:
            if error.status in _NOT_THERE:
                self._leave_way_to(self._by_look)
            elif is_outage(error):
                yield from self._fail()
            else:
                raise
            return
        took = time.monotonic() - began
        if not is_news and took < min(1.0, seconds / 2):
            # It knows nothing of `wait`, or it is about to stop.
            yield from self._fail()
            return
        self._succeed()
        if took < FIRST_PAUSE:
            yield Sleep(max(0.0, min(FIRST_PAUSE, self._left)))

    def _by_look(self) -> Flow[None]:
        yield Sleep(max(0.0, min(next(self._pauses), self._left)))
        yield from self._look()

    def _look(self) -> Flow[None]:
        try:
            found = yield from patient(self._ask, is_outage, None if self._left == math.inf else self._deadline)
        except ApiError as error:
            if self._left > 0 or not is_outage(error):
                raise
            last = "has" if self._answer is None else f"was {self._answer.status}, and has since"
            raise self._late(f"{last} not been heard of") from error
        self._see(found)

    def _ask(self) -> Flow[Look]:
        import_module("httpx")  # Now: what the first import takes is not to come on top of what is left.
        return asked_once(self._endpoint, look(self._target, self._timeout(0.0), self._within))

    @property
    def _within(self) -> float | None:
        """Seconds after which an answer comes too late; None where that is far away."""
        return None if self._left > _FAR else max(0.0, self._left) + GRACE

    def _timeout(self, seconds: float) -> float:
        """Return for how long a request may be silent that is answered after so many seconds at the latest."""
        return min(seconds + self._endpoint.timeout, max(0.0, self._left) + GRACE)

    def _late(self, state: str) -> WaitTimeoutError:
        name = self._target.execution_id
        return WaitTimeoutError(f"{name} {state}; it goes on, so wait again.", name)

    def _succeed(self) -> None:
        self._failures, self._pauses = 0, pauses()

    def _fail(self, *, is_hopeless: bool = False) -> Flow[None]:
        self._failures += 1
        if is_hopeless or self._failures >= _TRIES:
            self._leave_way()
        if self._left > 0:
            yield from self._by_look()

    def _leave_way(self) -> None:
        if len(self._ways) > 1:
            self._ways.popleft()
        self._succeed()

    def _leave_way_to(self, way: Callable[[], Flow[None]]) -> None:
        while self._ways[0] != way:
            self._ways.popleft()
        self._succeed()

    def _see(self, found: Look) -> bool:
        """Take in a look; whether it shows anything new."""
        self._etag, self._knows_versions = found.etag, found.etag is not None
        return found.answer is not None and self._tell(found.answer)

    def _hear_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._etag, self._last_id = None, message.id
            self._hear(message)

    def _hear(self, message: Message) -> None:
        match message.name:
            case "status":
                self._tell(msgspec.json.decode(message.data, type=StatusAnswer))
            case "progress":
                self._report(msgspec.json.decode(message.data, type=dict[str, Any]))
            case "upload":
                self._upload(msgspec.json.decode(message.data, type=TransferStatus))
            case "end":
                self._end(msgspec.json.decode(message.data, type=Ended))

    def _report(self, progress: dict[str, Any]) -> None:
        kept = {name: value for name, value in (self.answer.progress or {}).items() if name == PUBLICATION}
        self._answer = msgspec.structs.replace(self.answer, progress={**progress, **kept})
        self._told.append(ProgressEvent(progress=progress))

    def _upload(self, upload: TransferStatus) -> None:
        progress = {**(self.answer.progress or {}), PUBLICATION: msgspec.to_builtins(upload)}
        self._answer = msgspec.structs.replace(self.answer, progress=progress)
        self._told.append(UploadEvent(upload=upload))

    def _tell(self, answer: StatusAnswer) -> bool:
        """Take in where the execution stands; whether that is news."""
        before, self._answer = self._answer, answer
        news = list(_changes(before, answer))
        self._told.extend(news)
        if answer.status.is_final:
            self._end(Ended(status=answer.status, error_message=answer.error_message))
        return bool(news)

    def _end(self, ended: Ended) -> None:
        if not self.answer.status.is_final:
            self._answer = msgspec.structs.replace(
                self.answer, status=ended.status, error_message=ended.error_message, position=None
            )
        if not any(isinstance(event, EndEvent) for event in self._told):
            self._told.append(EndEvent(status=ended.status, error_message=ended.error_message))


def is_outage(error: Exception) -> bool:
    """Whether an error means that the server is gone for now: restarting, or behind a proxy that says so."""
    return isinstance(error, ServerUnavailableError | ServerBusyError)


def _is_event_stream(response: "httpx.Response") -> bool:
    kind: str = response.headers.get("Content-Type", "")
    return response.status_code == HTTPStatus.OK and kind.startswith("text/event-stream")


def _changes(before: StatusAnswer | None, now: StatusAnswer) -> Iterator[Event]:
    """Yield the events that lead from one answer to another, as the server would send them."""
    if before is None or _state(before) != _state(now):
        yield StatusEvent(answer=now)
        return
    reported = _reported(now)
    if reported is not None and reported != _reported(before):
        yield ProgressEvent(progress=reported)
    upload = now.publishing
    if upload is not None and upload != before.publishing:
        yield UploadEvent(upload=upload)


def _state(answer: StatusAnswer) -> tuple[Any, ...]:
    return answer.status, answer.position, answer.error_message, answer.metadata


def _reported(answer: StatusAnswer) -> dict[str, Any] | None:
    if answer.progress is None:
        return None
    return {name: value for name, value in answer.progress.items() if name != PUBLICATION}
