"""Flows: what the client does, written once, as generators that do no I/O themselves.

A flow yields steps and is resumed with what came of each: the answer to a request, nothing after a pause, the next
bytes of a stream. `wildcast._drivers` has the two who take the steps, one blocking and one for asyncio; an error of
theirs is raised at the step. So a flow reads like the plain code that it would be in either face.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API.

    Parameters
    ----------
    method, path
        Of HTTP; the path is below the server's address.
    params
        The query, in order.
    content
        The body, in JSON; None for none.
    headers
        Beside those that every request has.
    timeout
        Seconds that the server may stay silent; the client's own if None.
    within
        Seconds until the answer, or a stream's beginning, must be there, however little silent the server is; None for
        as long as it takes.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    within: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """An answer whose body is still to come; known to the driver that opened it."""

    response: "httpx.Response"


@dataclass(frozen=True, slots=True)
class Send:
    """Make a request; resumed with the `httpx.Response`, its body read."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Make a request; resumed with a `Stream` as soon as its headers are there."""

    request: Request


@dataclass(frozen=True, slots=True)
class Next:
    """Resumed with the next bytes of a stream, or None at its end."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Close:
    """Close a stream; what a flow leaves open, its driver closes."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Sleep:
    """Pause for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Give:
    """Hand a value to who iterates over the flow."""

    value: Any


Step: TypeAlias = Send | Open | Next | Close | Sleep | Give

Flow: TypeAlias = Generator[Step, Any, T]
"""Yields steps, and returns a `T`."""


@dataclass(frozen=True, slots=True)
class Done:
    """A flow's end, and what it returned."""

    value: Any


class Run:
    """One run of a flow, step by step: what both drivers share."""

    def __init__(self, flow: Flow[Any]) -> None:
        self._flow = flow

    def resume(self, outcome: Any = None) -> Step | Done:
        """Go on with what came of the last step, to the next one or the end."""
        try:
            return self._flow.send(outcome)
        except StopIteration as stop:
            return Done(stop.value)

    def fail(self, error: Exception) -> Step | Done:
        """Go on with what the last step raised."""
        try:
            return self._flow.throw(error)
        except StopIteration as stop:
            return Done(stop.value)

    def close(self) -> None:
        """End the flow where it stands."""
        self._flow.close()
