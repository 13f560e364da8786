"""What the OpenAPI document says of answers, and helpers with which each route says it.

A route's ``responses`` is the union of what the functions here return: ``json_of(200, …) | errors_of(404, 503)``.
Schemas are those of the contract's structs, so they are written once.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from wildcast.contract import wire
from wildcast.contract.manifest import Dataset
from wildcast_server.api.examples import DELIVERIES, LISTING, METADATA, PENDING, SIGNED, STATUS, SUBMITTED

Responses = dict[int | str, dict[str, Any]]
"""As FastAPI's ``responses`` wants them."""

ANSWERS = (
    wire.Submitted,
    wire.StatusAnswer,
    wire.Listing,
    wire.ResultMetadata,
    wire.SignedAnswer,
    wire.DeliveryStatus,
    wire.Deliveries,
    wire.Pending,
    wire.ErrorBody,
    Dataset,
)
"""The structs that the document shows as schemas."""

EXAMPLES: Mapping[type, Any] = {
    wire.Submitted: SUBMITTED,
    wire.StatusAnswer: STATUS,
    wire.ResultMetadata: METADATA,
    wire.Listing: LISTING,
    wire.SignedAnswer: SIGNED,
    wire.Deliveries: DELIVERIES,
    wire.Pending: PENDING,
}

ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("The request cannot be understood, or the result has expired.", "'../x' leaves the publication"),
    404: (
        "There is no such workflow, execution or file; or the execution failed or was cancelled and has no results.",
        "there is no execution 'exec_1769560728_10ed9d3c'",
    ),
    405: ("The route knows other methods; `Allow` lists them.", "Method Not Allowed"),
    409: ("The request does not fit where things stand.", "several workflows are exposed: name one of a, b"),
    412: ("The file is not the version that `If-Match` or `If-Unmodified-Since` names.", "the file has changed"),
    413: (
        "The request's body is too long.",
        "the request's body is longer than the 1048576 bytes that this server reads",
    ),
    416: (
        "The range begins behind the file's end; `Content-Range` says how long the file is.",
        "the file has 10 bytes, and the range begins behind them",
    ),
    422: (
        "The parameters, or the body itself, are not accepted; `details` names each field.",
        "'forecast' does not accept these parameters: nsteps: Input should be greater than 0",
    ),
    429: ("The queue is full; `Retry-After` says when to try again.", "1000 executions are waiting already"),
    500: (
        "The server met something unexpected; its log says more.",
        "the server met an unexpected ValueError; its log says more",
    ),
    502: (
        "The store failed, or lost what the manifest lists. It never reads as a missing file.",
        "a.zarr/0.0 belongs to the result, and is not in its store any more",
    ),
    503: (
        "Records, disk or store cannot be used now; `Retry-After` says when to try again.",
        "the database cannot be used now: unable to open database file",
    ),
}
"""By status: what it means, and a sentence as the server would write it."""

DETAILS: Mapping[int, Any] = {
    422: [{"field": "nsteps", "message": "Input should be greater than 0", "type": "greater_than"}]
}

RETRY_AFTER = {"Retry-After": "In how many seconds to try again."}
HEADERS: Mapping[int, Mapping[str, str]] = {
    405: {"Allow": "The methods that the route knows."},
    416: {"Content-Range": "`bytes */` and the size of the file."},
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}


def reference(kind: type) -> dict[str, Any]:
    """Refer to the schema of one of `ANSWERS`."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def json_of(
    status: int, kind: type | dict[str, Any], description: str, *, example: Any = None, headers: Mapping[str, str] = {}
) -> Responses:
    """Document an answer in JSON.

    Parameters
    ----------
    status
        Of the answer.
    kind
        One of `ANSWERS`, or a JSON schema.
    description
        One sentence.
    example
        A body; `EXAMPLES` has one for each struct.
    headers
        Name and meaning of those that matter.
    """
    schema = kind if isinstance(kind, dict) else reference(kind)
    if example is None and isinstance(kind, type):
        example = EXAMPLES[kind]
    content = {"application/json": {"schema": schema, "example": example}}
    return {status: {"description": description, "headers": _headers(headers), "content": content}}


def bytes_of(
    status: int,
    description: str,
    *,
    media_type: str = "application/octet-stream",
    example: str | None = None,
    headers: Mapping[str, str] = {},
) -> Responses:
    """Document an answer whose body is bytes: a file, a range of one, an archive; or text, if `example` shows some."""
    body: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    if example is not None:
        body = {"schema": {"type": "string"}, "example": example}
    return {status: {"description": description, "headers": _headers(headers), "content": {media_type: body}}}


def nothing_of(status: int, description: str, *, headers: Mapping[str, str] = {}) -> Responses:
    """Document an answer without a body: 304, 307."""
    return {status: {"description": description, "headers": _headers(headers)}}


def errors_of(*statuses: int, sentences: Mapping[int, str] = {}) -> Responses:
    """Document errors: what each status means, and the body that it has.

    Parameters
    ----------
    *statuses
        Of `ERRORS`.
    sentences
        By status: what the route's own error says, in place of the usual example.
    """
    return {int(status): _error(int(status), sentences.get(status, ERRORS[status][1])) for status in statuses}


def any_error() -> Responses:
    """Document that every other error has the same body."""
    body = {"schema": reference(wire.ErrorBody), "example": _error_body(500, ERRORS[500][1])}
    return {"default": {"description": "Every error has this body.", "content": {"application/json": body}}}


def components() -> dict[str, Any]:
    """Return the schemas that `reference` refers to."""
    return dict(msgspec.json.schema_components(ANSWERS, ref_template="#/components/schemas/{name}")[1])


def _error(status: int, sentence: str) -> dict[str, Any]:
    body = {"schema": reference(wire.ErrorBody), "example": _error_body(status, sentence)}
    return {
        "description": f"{HTTPStatus(status).phrase}. {ERRORS[status][0]}",
        "headers": _headers(HEADERS.get(status, {})),
        "content": {"application/json": body},
    }


def _error_body(status: int, sentence: str) -> dict[str, Any]:
    return {"error": sentence, "details": DETAILS.get(status), "detail": sentence}


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
