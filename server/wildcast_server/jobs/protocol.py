"""What a runner and its process say to each other: one JSON object a line, over a private socket pair.

Not over standard input and output: those belong to the workflow, whatever it prints.
"""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """Anything that is said."""


class Load(Message):
    """To the process, first: where workflows are, and their configurations by name."""

    directories: tuple[str, ...]
    configs: dict[str, Any]


class Run(Message):
    """To the process: run this."""

    execution_id: str
    workflow: str
    parameters: dict[str, Any]
    output_directory: str


class Cancel(Message):
    """To the process: the workflow should stop."""

    execution_id: str


class Exit(Message):
    """To the process: end."""


class Progress(Message):
    """From the process: how far the run is."""

    execution_id: str
    progress: dict[str, Any]


class Log(Message):
    """From the process: a record of the workflow's logger."""

    execution_id: str
    level: int
    text: str


class Done(Message):
    """From the process: the workflow returned."""

    execution_id: str
    seconds: float
    peak_memory_bytes: int


class Failed(Message):
    """From the process: the workflow raised."""

    execution_id: str
    message: str
    traceback: str


class Cancelled(Message):
    """From the process: the workflow stopped because it was told to."""

    execution_id: str
    message: str


class NotLoaded(Message):
    """From the process: there is no such workflow, or it could not be constructed."""

    execution_id: str
    message: str


ToProcess = Load | Run | Cancel | Exit
FromProcess = Progress | Log | Done | Failed | Cancelled | NotLoaded

_for_process = msgspec.json.Decoder(ToProcess)
_for_runner = msgspec.json.Decoder(FromProcess)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be sent to the runner's process")


def encode(message: Message) -> bytes:
    """Lay a message out as one line; `TypeError` if a value in it is neither JSON nor a mapping nor a path."""
    return msgspec.json.encode(message, enc_hook=_plain) + b"\n"


def printable(text: str, limit: int) -> str:
    """Make `text` fit for a log and a database: control and undecodable characters escaped, at most `limit` long."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1] for character in text
    )


class Channel:
    """One end of the socket pair; any thread may send, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def send(self, message: Message) -> None:
        """Send a message. Where the other end is gone, nobody is left to tell: receiving says so.

        Raises
        ------
        RuntimeError
            In a process that was forked from the one that owns this end: their lines would mix.
        """
        if os.getpid() != self._owner:
            raise RuntimeError("only the process that runs the workflow can report, not one that it has forked")
        line = encode(message)
        with self._lock, suppress(OSError):
            self._socket.sendall(line)

    def to_process(self) -> Iterator[ToProcess]:
        """Receive in the process until the runner is gone."""
        return map(_for_process.decode, self._lines())

    def from_process(self) -> Iterator[FromProcess]:
        """Receive in the runner until the process is gone."""
        return map(_for_runner.decode, self._lines())

    def _lines(self) -> Iterator[bytes]:
        # A line that the end has cut short is nothing that was said.
        with suppress(OSError), self._socket.makefile("rb") as lines:
            yield from (line for line in lines if line.endswith(b"\n"))

    def end(self) -> None:
        """Let whoever receives here get what has arrived, and then the end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
