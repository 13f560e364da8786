"""Conditional requests (RFC 9110 §13), for GET and HEAD."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

from starlette.datastructures import Headers

_TAGS = re.compile(r'(?:W/)?"[^"]*"')


def quoted_etag(etag: str | None) -> str | None:
    """Return a store's ETag in the quotes that HTTP wants, which not every store writes; None if it has none."""
    if not etag:
        return None
    return etag if _TAGS.fullmatch(etag) else f'"{etag}"'


def http_date(moment: datetime) -> str:
    """Write a time as HTTP does (RFC 9110 §5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def condition_status(headers: Headers, etag: str | None, last_modified: datetime) -> HTTPStatus | None:
    """Say with which status the conditions of a GET or HEAD end it, if they do, in the order of RFC 9110 §13.2.2.

    Parameters
    ----------
    headers
        Of the request. ``If-Range`` is left to `range_holds`.
    etag
        Of the object, quoted.
    last_modified
        Of the object.

    Returns
    -------
    HTTPStatus or None
        412 if the object is not the version that the client wants, 304 if the client has it already.
    """
    if not _is_wanted(headers, etag, last_modified):
        return HTTPStatus.PRECONDITION_FAILED
    return HTTPStatus.NOT_MODIFIED if _is_had(headers, etag, last_modified) else None


def has_version(headers: Headers, etag: str | None) -> bool:
    """Whether ``If-None-Match`` names this version, compared weakly; without that field the client has none."""
    tags = _list(headers, "if-none-match")
    if tags is None:
        return False
    return tags.strip() == "*" or (etag is not None and _weak(etag) in map(_weak, _TAGS.findall(tags)))


def range_holds(if_range: str | None, etag: str | None, last_modified: datetime) -> bool:
    """Whether a ``Range`` may be honoured: its ``If-Range`` is absent or names exactly this version of the object."""
    if if_range is None:
        return True
    if _TAGS.fullmatch(if_range.strip()):
        return if_range.strip() == etag and not etag.startswith("W/")
    return _parse_date(if_range) == last_modified.replace(microsecond=0)


def _is_wanted(headers: Headers, etag: str | None, last_modified: datetime) -> bool:
    """Decide ``If-Match``, compared strongly, or without it ``If-Unmodified-Since``."""
    tags = _list(headers, "if-match")
    if tags is not None:
        return tags.strip() == "*" or (etag in _TAGS.findall(tags) and not str(etag).startswith("W/"))
    since = _parse_date(headers.get("if-unmodified-since"))
    return since is None or last_modified.replace(microsecond=0) <= since


def _is_had(headers: Headers, etag: str | None, last_modified: datetime) -> bool:
    """Decide ``If-None-Match``, compared weakly, or without it ``If-Modified-Since``."""
    if "if-none-match" in headers:
        return has_version(headers, etag)
    since = _parse_date(headers.get("if-modified-since"))
    return since is not None and last_modified.replace(microsecond=0) <= since


def _list(headers: Headers, name: str) -> str | None:
    """Return a field that may be sent in several lines (RFC 9110 §5.3)."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def _weak(etag: str) -> str:
    return etag.removeprefix("W/")


def _parse_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # of a year or zone that no datetime can hold
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
