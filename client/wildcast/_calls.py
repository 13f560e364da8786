"""The calls of the API, each as data: what is sent, what may be repeated, and how the answer is read.

The whole wire contract is here once; whether a call blocks or is awaited is its driver's business.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, Literal
from urllib.parse import quote

import msgspec

from wildcast._answers import Decode, Meanings, check, decoded, health, pending
from wildcast._encode import to_json
from wildcast._errors import (
    IdempotencyConflictError,
    UnknownExecutionError,
    UnknownWorkflowError,
    UnsupportedError,
)
from wildcast._flows import Request, T
from wildcast._seconds import seconds_of
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import (
    Deliveries,
    DeliveryStatus,
    Health,
    Listing,
    ResultMetadata,
    SignedAnswer,
    StatusAnswer,
    Submitted,
)

if TYPE_CHECKING:
    import httpx

ROOT = "/v1/infer"

PAGE = 200
"""Executions of one page at most, which is what the server allows."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_WORKFLOW = Meanings(missing=UnknownWorkflowError, conflict=IdempotencyConflictError, takes_parameters=True)
_EXECUTION = Meanings(missing=UnknownExecutionError)
_ADDITION = Meanings(missing=UnknownExecutionError, is_addition=True)
_SIGNING = Meanings(missing=UnknownExecutionError, is_addition=True, names_files=True)

SignatureKind = Literal["url", "cookies"]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call.

    Parameters
    ----------
    request
        What is sent.
    decode
        Reads the answer.
    is_repeatable
        Whether it may be sent again when it is not known whether it arrived.
    """

    request: Request
    decode: "Decode[T]"
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """An execution, by what the API calls it."""

    workflow: str
    execution_id: str

    @property
    def path(self) -> str:
        """The path below which the API answers for it."""
        return path_of(self.workflow, self.execution_id)

    @property
    def files(self) -> str:
        """The path below which the API serves the result's files, as their paths relative to the result."""
        return path_of(self.workflow, self.execution_id, "results", self.execution_id)


def path_of(*segments: str) -> str:
    """Return a path of the API; each segment stays one, whatever is in it."""
    return "/".join([ROOT, *map(_segment, segments)])


def _segment(text: str) -> str:
    # Dots alone would be steps in the path.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def service_health() -> Call[Health]:
    """Ask how the server is."""
    return Call(Request("GET", "/health"), health, is_repeatable=False)


def workflows() -> Call[dict[str, str]]:
    """Ask which workflows there are: their names, and what each does."""
    return Call(Request("GET", path_of("workflows")), lambda response: decoded(response, _Workflows).workflows)


class _Workflows(msgspec.Struct):
    workflows: dict[str, str]


def schema(workflow: str) -> Call[dict[str, Any]]:
    """Ask for the JSON schema of a workflow's parameters."""
    request = Request("GET", f"{path_of('workflows', workflow)}/schema")
    return Call(request, lambda response: decoded(response, dict[str, Any], _WORKFLOW))


def submit(workflow: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Call[Submitted]:
    """Submit an execution; sent once, unless a key makes sure that it is one however often it arrives.

    Raises
    ------
    ValueError
        If the key is none that the API takes.
    """
    headers = {} if idempotency_key is None else {"Idempotency-Key": _checked_key(idempotency_key)}
    request = Request("POST", path_of(workflow), content=msgspec.json.encode(body), headers=headers)
    return Call(request, _reads(Submitted, _WORKFLOW), is_repeatable=idempotency_key is not None)


def _checked_key(key: str) -> str:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise ValueError(
            "idempotency_key is no key; give 1 to 255 printable ASCII characters without spaces, a UUID say."
        )
    return key


def status(target: Target) -> Call[StatusAnswer]:
    """Ask where an execution stands."""
    return Call(Request("GET", f"{target.path}/status"), _reads(StatusAnswer, _EXECUTION))


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a status has shown."""

    answer: StatusAnswer | None
    """None where it is what it was."""
    etag: str | None
    """The version; None of a server that has none, and so cannot wait for another one either."""


def look(
    target: Target, timeout: float, within: float | None, *, wait: float = 0.0, etag: str | None = None
) -> Call[Look]:
    """Look at a status; with `wait`, after so many seconds, or as soon as it is not that of `etag` any more."""
    params = (("wait", f"{wait:.3f}"),) if wait else ()
    headers = {"If-None-Match": etag} if wait and etag else {}
    path = f"{target.path}/status"
    request = Request("GET", path, params=params, headers=headers, timeout=timeout, within=within)
    return Call(request, _look)


def _look(response: "httpx.Response") -> Look:
    etag = response.headers.get("ETag")
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        return Look(None, etag)
    return Look(decoded(response, StatusAnswer, _EXECUTION), etag)


def events(target: Target, last_event_id: str | None, silence: float, within: float | None) -> Request:
    """Ask for a stream of events, from the one after `last_event_id`."""
    resumed = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **resumed}
    return Request("GET", f"{target.path}/events", headers=headers, timeout=silence, within=within)


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which executions are listed, as the query says it; times are ISO 8601 with an offset."""

    ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None

    def params(self, limit: int, cursor: str | None) -> tuple[tuple[str, str], ...]:
        """Return the query of one page."""
        several = {"id": self.ids, "status": self.statuses, "label": self.labels}
        single = {"since": self.since, "until": self.until, "cursor": cursor}
        return (
            *((name, value) for name, values in several.items() for value in values),
            *((name, value) for name, value in single.items() if value is not None),
            ("limit", str(limit)),
        )


def filters_of(status: str | Iterable[str] | None, labels: Mapping[str, Any] | None, since: Any, until: Any) -> Filters:
    """Read what a user gives as filters.

    Raises
    ------
    ValueError, TypeError
        If a status, a time or labels are none.
    """
    statuses = (status,) if isinstance(status, str) else tuple(status or ())
    return Filters(
        statuses=tuple(_status(each) for each in statuses),
        labels=tuple(f"{name}={value}" for name, value in checked_labels(labels or {}).items()),
        since=_moment("since", since),
        until=_moment("until", until),
    )


def checked_labels(labels: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return labels as they are.

    Raises
    ------
    TypeError
        If they are none.
    """
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels are names with a text each: give a dictionary, and no {type(labels).__name__}.")
    return labels


def _moment(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = to_json(value, name)
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no time; give a datetime, or ISO 8601 such as 2026-01-28T00:00:00Z.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def executions(workflow: str | None, filters: Filters, limit: int, cursor: str | None = None) -> Call[Listing]:
    """Ask for a page of executions, of one workflow or of all."""
    path = ROOT if workflow is None else path_of(workflow)
    missing = UnsupportedError if workflow is None else UnknownWorkflowError
    request = Request("GET", path, params=filters.params(limit, cursor))
    return Call(request, _reads(Listing, Meanings(missing=missing, is_addition=True)))


def results(target: Target, *, listed: bool = True, partial_too: bool = False) -> Call[ResultMetadata]:
    """Ask what an execution has published; not `listed`, without its files; `partial_too`: what there is so far."""
    params = (*((("files", "none"),) if not listed else ()), *((("partial", "true"),) if partial_too else ()))
    request = Request("GET", f"{target.path}/results", params=params)
    return Call(request, lambda response: decoded(_ended(response, target), ResultMetadata, _EXECUTION))


def manifest(target: Target) -> Call[bytes]:
    """Ask for the manifest, as `decode_manifest` takes it."""
    return Call(Request("GET", f"{target.path}/manifest"), partial(_manifest, target))


def _manifest(target: Target, response: "httpx.Response") -> bytes:
    check(_ended(response, target), _ADDITION)
    return response.content


def _ended(response: "httpx.Response", target: Target) -> "httpx.Response":
    if response.status_code == HTTPStatus.ACCEPTED:
        raise pending(response, target.execution_id)
    return response


def sign(
    target: Target,
    *,
    path: str | None = None,
    expires_in: float | timedelta | None = None,
    ip: str | None = None,
    kind: SignatureKind = "url",
) -> Call[SignedAnswer]:
    """Ask for a signed URL, or cookies, for a result or a part of it."""
    seconds = None if expires_in is None else whole_seconds(expires_in, "expires_in")
    wanted = {"path": path, "expires_in": seconds, "ip": ip, "kind": kind}
    body = {name: value for name, value in wanted.items() if value is not None}
    return _post(target, "sign", SignedAnswer, body, _SIGNING)


def cancel(target: Target) -> Call[StatusAnswer]:
    """Cancel an execution; repeating it changes nothing."""
    return _post(target, "cancel", StatusAnswer)


def retry(target: Target) -> Call[StatusAnswer]:
    """Try an execution again that failed; one that waits or runs is left as it is."""
    return _post(target, "retry", StatusAnswer)


def pin(target: Target, *, pinned: bool) -> Call[StatusAnswer]:
    """Keep a result from expiring, or let it."""
    return _post(target, "pin", StatusAnswer, {"pinned": pinned})


def delete(target: Target) -> Call[None]:
    """Delete an execution that has ended, and its result; repeating it changes nothing."""
    return Call(Request("DELETE", target.path), lambda response: check(response, _ADDITION))


def deliveries(target: Target) -> Call[tuple[DeliveryStatus, ...]]:
    """Ask what an execution's webhook was told."""
    request = Request("GET", f"{target.path}/deliveries")
    return Call(request, lambda response: decoded(response, Deliveries, _ADDITION).deliveries)


def _post(
    target: Target,
    action: str,
    answer: type[T],
    body: Mapping[str, Any] | None = None,
    meanings: Meanings = _ADDITION,
) -> Call[T]:
    content = None if body is None else msgspec.json.encode(body)
    return Call(Request("POST", f"{target.path}/{action}", content=content), _reads(answer, meanings))


def _reads(answer: type[T], meanings: Meanings) -> "Decode[T]":
    return lambda response: decoded(response, answer, meanings)


def whole_seconds(value: float | timedelta, name: str) -> int:
    """Return a time in whole seconds, rounded up.

    Raises
    ------
    ValueError
        If it is no number, or not positive.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        seconds = seconds_of(value, name, f"{name}=86400, or a timedelta")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{name} is {value!r}; give a positive number of seconds, or a timedelta.")
    return math.ceil(seconds)


def _status(name: str) -> str:
    try:
        return ExecutionStatus(name).value
    except ValueError:
        known = ", ".join(status.value for status in ExecutionStatus)
        raise ValueError(f"{name!r} is no status; give one of {known}.") from None
