"""Conditional requests."""

from datetime import UTC, datetime, timedelta, timezone
from http import HTTPStatus

import pytest
from starlette.datastructures import Headers

from wildcast_server.http.conditions import condition_status, http_date, quoted_etag, range_holds

MODIFIED = datetime(2026, 3, 1, 12, 0, 0, 654321, tzinfo=UTC)
SAME = "Sun, 01 Mar 2026 12:00:00 GMT"
EARLIER = "Sun, 01 Mar 2026 11:59:59 GMT"
LATER = "Sun, 01 Mar 2026 12:00:01 GMT"


@pytest.mark.parametrize(
    ("etag", "expected"),
    [(None, None), ("", None), ('"a"', '"a"'), ('W/"a"', 'W/"a"'), ("1f-2e", '"1f-2e"')],
)
def test_an_etag_is_quoted(etag: str | None, expected: str | None) -> None:
    """File stores give theirs bare."""
    assert quoted_etag(etag) == expected


def test_a_date_is_written_in_gmt() -> None:
    """Whatever zone it comes in."""
    assert http_date(MODIFIED.astimezone(timezone(timedelta(hours=9)))) == SAME


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"if-none-match": '"a"'}, True),
        ({"if-none-match": 'W/"a"'}, True),
        ({"if-none-match": '"x", "a"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": "a"}, False),
        ({"if-none-match": '"x"', "if-modified-since": LATER}, False),
        ({"if-modified-since": SAME}, True),
        ({"if-modified-since": LATER}, True),
        ({"if-modified-since": EARLIER}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, False),
        ({"if-modified-since": "Sun, 01 Mar 2026 12:00:00 -0000"}, True),
    ],
)
def test_what_a_client_has_is_not_sent_again(headers: dict[str, str], expected: bool) -> None:
    """By ETag, weakly compared, or else by date to the second."""
    status = condition_status(Headers(headers), '"a"', MODIFIED)
    assert status == (HTTPStatus.NOT_MODIFIED if expected else None)


def test_without_an_etag_none_matches() -> None:
    """A store that keeps none has changed as far as a client can know."""
    assert condition_status(Headers({"if-none-match": '"a"'}), None, MODIFIED) is None


@pytest.mark.parametrize(
    ("headers", "etag", "expected"),
    [
        ({"if-match": '"a"'}, '"a"', True),
        ({"if-match": '"x", "a"'}, '"a"', True),
        ({"if-match": "*"}, '"a"', True),
        ({"if-match": '"x"'}, '"a"', False),
        ({"if-match": 'W/"a"'}, '"a"', False),
        ({"if-match": 'W/"a"'}, 'W/"a"', False),
        ({"if-match": '"a"'}, None, False),
        ({"if-match": "junk"}, '"a"', False),
        ({"if-unmodified-since": SAME}, '"a"', True),
        ({"if-unmodified-since": LATER}, '"a"', True),
        ({"if-unmodified-since": EARLIER}, '"a"', False),
        ({"if-unmodified-since": "yesterday"}, '"a"', True),
        ({"if-match": '"a"', "if-unmodified-since": EARLIER}, '"a"', True),
        ({"if-match": '"x"', "if-unmodified-since": SAME}, '"a"', False),
    ],
)
def test_another_version_than_the_client_wants_is_not_sent(
    headers: dict[str, str], etag: str | None, expected: bool
) -> None:
    """By ETag, strongly compared, or else by date to the second."""
    status = condition_status(Headers(headers), etag, MODIFIED)
    assert status == (None if expected else HTTPStatus.PRECONDITION_FAILED)


def test_the_wrong_version_counts_more_than_the_one_that_is_had() -> None:
    """`If-Match` is decided first (RFC 9110 §13.2.2)."""
    headers = Headers({"if-match": '"x"', "if-none-match": '"a"'})
    assert condition_status(headers, '"a"', MODIFIED) is HTTPStatus.PRECONDITION_FAILED


@pytest.mark.parametrize(("name", "expected"), [("if-none-match", 304), ("if-match", None)])
def test_a_list_may_be_sent_in_several_lines(name: str, expected: int | None) -> None:
    """They are one list (RFC 9110 §5.3)."""
    headers = Headers(raw=[(name.encode(), b'"x"'), (name.encode(), b'"a"')])
    assert condition_status(headers, '"a"', MODIFIED) == expected


@pytest.mark.parametrize(
    ("if_range", "etag", "expected"),
    [
        (None, '"a"', True),
        ('"a"', '"a"', True),
        ('"b"', '"a"', False),
        ('"a"', None, False),
        ('W/"a"', 'W/"a"', False),
        ('W/"a"', '"a"', False),
        (SAME, '"a"', True),
        (LATER, '"a"', False),
        (EARLIER, '"a"', False),
        ("junk", '"a"', False),
    ],
)
def test_a_range_holds_for_the_same_version_only(if_range: str | None, etag: str | None, expected: bool) -> None:
    """By strong ETag or exact date."""
    assert range_holds(if_range, etag, MODIFIED) is expected
