"""Cursors: where a list goes on, as an opaque text.

A cursor holds what it belongs to, as a short hash; so one of another list is refused, and does not silently begin
somewhere in this one.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import HTTPException

Place = TypeVar("Place")

MAX_CHARACTERS = 512
"""Longer than any that was handed out."""


class _Cursor(msgspec.Struct, array_like=True):
    mark: str
    place: Any


def write_cursor(list_of: Sequence[Any], place: Any) -> str:
    """Write a cursor.

    Parameters
    ----------
    list_of
        What tells the list from others: its filters.
    place
        Where it goes on, as a value that msgspec can write as JSON.
    """
    return base64.urlsafe_b64encode(msgspec.json.encode([_mark(list_of), place])).decode().rstrip("=")


def read_cursor(name: str, text: str, list_of: Sequence[Any], kind: type[Place]) -> Place:
    """Return the place that `write_cursor` was given.

    Parameters
    ----------
    name
        Of the parameter, for the sentence.
    text
        The cursor.
    list_of
        As for `write_cursor`.
    kind
        The type of a place.

    Raises
    ------
    HTTPException
        422, unless it is a cursor of this list.
    """
    try:
        padded = text[:MAX_CHARACTERS] + "=" * (-len(text) % 4)
        cursor = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=_Cursor)
        found = msgspec.convert(cursor.place, kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise _refused(name, "is none that this server has handed out") from None
    if cursor.mark != _mark(list_of):
        raise _refused(name, "belongs to another list: begin without one where anything else is asked for")
    return found


def _mark(list_of: Sequence[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(list_of)).hexdigest()[:12]


def _refused(name: str, why: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"the {name} {why}")
