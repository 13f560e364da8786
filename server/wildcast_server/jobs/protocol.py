"""What a runner and its process say to each other: one JSON object a line, over a private socket pair.

Not over standard input and output: those belong to the workflow, whatever it prints.
"""

import json
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


class Load(Message, frozen=True, kw_only=True):
    """To the process, first: where workflows are, and their configurations by name."""

    directories: tuple[str, ...]
    configs: dict[str, Any]
    sources: dict[str, str] | None = None
    """By workflow name: its file, the only one that is imported for it; null: the directories are searched."""
    warm_up: tuple[str, ...] = ()
    """The workflows to construct before anything is run."""


class Probe(Message, frozen=True, kw_only=True):
    """To a process that does nothing else, first: import these files."""

    files: tuple[str, ...]


class SinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the process makes what a run's streamed output goes to; `arguments` may hold secrets, and are never shown."""

    factory: str
    """``module:function``; it is called with the output directory, and returns an `OutputSink`."""
    arguments: dict[str, Any]
    """Further keyword arguments of the factory, JSON values."""

    def __repr__(self) -> str:
        return f"SinkSpec(factory={self.factory!r}, arguments=…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show it so to `rich` too, which would else follow the fields."""
        return [("factory", self.factory)]


class Run(Message, frozen=True, kw_only=True):
    """To the process: run this. `run` counts what this runner has run, and tells which one a `Cancel` means."""

    run: int
    execution_id: str
    workflow: str
    parameters: dict[str, Any]
    output_directory: str
    sink: SinkSpec | None = None
    """Where streamed output goes; null: into the output directory."""
    begun: str | None = None
    """The file that says whether the workflow was called: see `call_note`."""


class Cancel(Message, frozen=True, kw_only=True):
    """To the process: the workflow should stop."""

    run: int


class Exit(Message, frozen=True, kw_only=True):
    """To the process: end."""


class Importing(Message, frozen=True, kw_only=True):
    """From a probing process: it imports this file next."""

    file: str


class Found(Message, frozen=True, kw_only=True):
    """From a probing process: the file that it has imported gives these workflows, each with how long it may run."""

    file: str
    workflows: dict[str, float | None]


class Warming(Message, frozen=True, kw_only=True):
    """From the process: it constructs this workflow next."""

    workflow: str


class Warmed(Message, frozen=True, kw_only=True):
    """From the process: the workflow is constructed, or not, and then why."""

    workflow: str
    error: str | None = None
    traceback: str = ""
    """Of its own constructor, if that raised."""


class Ready(Message, frozen=True, kw_only=True):
    """From the process: it has done what it does first."""


class Started(Message, frozen=True, kw_only=True):
    """From the process: the workflow is loaded and begins."""

    workflow_sha256: str | None


class Progress(Message, frozen=True, kw_only=True):
    """From the process: how far the run is."""

    progress: dict[str, Any]


class Log(Message, frozen=True, kw_only=True):
    """From the process: a record of the workflow's logger."""

    execution_id: str
    level: int
    text: str


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took, however it ended."""

    seconds: float
    peak_memory_bytes: int
    device: str


class Done(Message, frozen=True, kw_only=True):
    """From the process: the workflow returned."""

    took: Took


class Failed(Message, frozen=True, kw_only=True):
    """From the process: the workflow raised."""

    message: str
    traceback: str
    took: Took


class Cancelled(Message, frozen=True, kw_only=True):
    """From the process: the workflow stopped because it was told to."""

    message: str
    took: Took


class NotLoaded(Message, frozen=True, kw_only=True):
    """From the process: there is no such workflow, or it could not be constructed."""

    message: str
    traceback: str = ""
    """Of its own constructor, if that raised."""


Outcome = Done | Failed | Cancelled | NotLoaded
ToProcess = Load | Probe | Run | Cancel | Exit
FromProcess = Importing | Found | Warming | Warmed | Ready | Started | Progress | Log | Outcome


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent to the runner's process")


def encode(message: Message) -> bytes:
    """Lay a message out as one line.

    Raises
    ------
    TypeError, ValueError
        If a value in it is neither JSON nor a mapping nor a path.
    """
    # The standard library's JSON, whose integers have no bounds; msgspec checks the shape.
    return json.dumps(msgspec.to_builtins(message, enc_hook=_plain), allow_nan=False).encode() + b"\n"


def printable(text: str, limit: int) -> str:
    """Make `text` fit for a log and a database: control and undecodable characters escaped, at most `limit` long."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1] for character in text
    )


class Channel:
    """One end of the socket pair; any thread may send, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = end.makefile("rb")
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def send(self, message: Message) -> None:
        """Send a message. Where the other end is gone, nobody is left to tell: receiving says so.

        Raises
        ------
        RuntimeError
            In a process that was forked from the one that owns this end: their lines would mix.
        """
        self.check_owner()
        line = encode(message)
        with self._lock, suppress(OSError):
            self._socket.sendall(line)

    def check_owner(self) -> None:
        """Raise `RuntimeError` in a process that may not send."""
        if os.getpid() != self._owner:
            raise RuntimeError("only the process that runs the workflow can report, not one that it has forked")

    def to_process(self) -> Iterator[ToProcess]:
        """Receive in the process until the runner is gone."""
        return (msgspec.convert(value, ToProcess) for value in self._values())

    def from_process(self) -> Iterator[FromProcess]:
        """Receive in the runner until the process is gone."""
        return (msgspec.convert(value, FromProcess) for value in self._values())

    def _values(self) -> Iterator[Any]:
        while line := self._read_line():
            yield json.loads(line)

    def _read_line(self) -> bytes:
        try:
            line = self._lines.readline()
        except (OSError, ValueError):  # ValueError: closed meanwhile
            return b""
        # A line that the end has cut short is nothing that was said.
        return line if line.endswith(b"\n") else b""

    def end(self) -> None:
        """Let whoever receives here get what has arrived, and then the end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Give the socket back."""
        self._lines.close()
        self._socket.close()
