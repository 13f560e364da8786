"""What happens to an execution, as typed events; and reading them from a stream (HTML Living Standard §9.2)."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer, TransferStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent:
    """The status or the place in the queue has changed; `answer` tells everything about the execution."""

    answer: StatusAnswer

    @property
    def status(self) -> ExecutionStatus:
        """Where the execution stands now."""
        return self.answer.status


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """The workflow has reported; `progress` is what it says."""

    progress: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadEvent:
    """Publishing has gone on."""

    upload: TransferStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent:
    """The execution has ended; nothing comes after this."""

    status: ExecutionStatus
    error_message: str | None


Event: TypeAlias = StatusEvent | ProgressEvent | UploadEvent | EndEvent


@dataclass(frozen=True, slots=True)
class Message:
    """One event of a stream, as it was sent."""

    name: str
    data: str
    id: str | None
    """The last one that was given, for this event or before."""


class Parser:
    """Reads a stream of server-sent events from its bytes, however these are cut."""

    def __init__(self, last_id: str | None = None) -> None:
        self._rest = b""
        self._name, self._data = "", list[str]()
        self._id = last_id

    def feed(self, chunk: bytes) -> list[Message]:
        """Return the events that are complete with this chunk."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        return [message for line in lines if (message := self._line(line.decode(errors="replace"))) is not None]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> Message | None:
        name, data, self._name, self._data = self._name or "message", self._data, "", []
        return Message(name, "\n".join(data), self._id) if data else None
