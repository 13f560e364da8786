"""Conditional requests: ``If-None-Match``, ``If-Modified-Since`` and ``If-Range`` (RFC 9110 §13)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

_TAGS = re.compile(r'(?:W/)?"[^"]*"')


def quoted_etag(etag: str | None) -> str | None:
    """Return a store's ETag in the quotes that HTTP wants, which not every store writes; None if it has none."""
    if not etag:
        return None
    return etag if _TAGS.fullmatch(etag) else f'"{etag}"'


def http_date(moment: datetime) -> str:
    """Write a time as HTTP does (RFC 9110 §5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def is_not_modified(headers: Mapping[str, str], etag: str | None, last_modified: datetime) -> bool:
    """Whether the client has this object already, so that 304 is the answer to its GET or HEAD.

    `headers` looks names up without regard to case, as Starlette's do; `etag` is quoted.
    """
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or (etag is not None and _weak(etag) in map(_weak, _TAGS.findall(tags)))
    since = _parse_date(headers.get("if-modified-since"))
    return since is not None and last_modified.replace(microsecond=0) <= since


def range_holds(if_range: str | None, etag: str | None, last_modified: datetime) -> bool:
    """Whether a ``Range`` may be honoured: its ``If-Range`` is absent or names exactly this version of the object."""
    if if_range is None:
        return True
    if _TAGS.fullmatch(if_range.strip()):
        return if_range.strip() == etag and not etag.startswith("W/")
    return _parse_date(if_range) == last_modified.replace(microsecond=0)


def _weak(etag: str) -> str:
    return etag.removeprefix("W/")


def _parse_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # of a year or zone that no datetime can hold
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
