"""Byte ranges: read from a header, resolved against a size, and merged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast_server.http.ranges import (
    MAX_RANGES,
    Requested,
    RequestedRange,
    RequestedSuffix,
    Span,
    parse_range,
    parse_ranges,
    resolve,
    resolve_all,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", RequestedRange(0, 0)),
        ("bytes=5-9", RequestedRange(5, 9)),
        ("bytes=5-", RequestedRange(5, None)),
        ("bytes=-5", RequestedSuffix(5)),
        ("bytes=-0", RequestedSuffix(0)),
        ("BYTES=1-2", RequestedRange(1, 2)),
        ("bytes= 1-2 ", RequestedRange(1, 2)),
        ("bytes=007-8", RequestedRange(7, 8)),
        (f"bytes=0-{10**40}", RequestedRange(0, 2**62)),
        (f"bytes={10**40}-", RequestedRange(2**62, None)),
        (f"bytes=-{10**40}", RequestedSuffix(2**62)),
        (f"bytes=0-{'9' * 5000}", RequestedRange(0, 2**62)),
        (f"bytes={'0' * 5000}7-", RequestedRange(7, None)),
        ("bytes=0-1,", RequestedRange(0, 1)),
        ("bytes=,\t0-1 ,", RequestedRange(0, 1)),
    ],
)
def test_a_range_is_read(header: str, expected: Requested) -> None:
    """First and last, first alone, suffix; numbers that no object reaches are cut down."""
    assert parse_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes= - ",
        "bytes=9-5",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=٣-٤",
        "bytes=0-1,3-4",
        "bytes=0-1;3-4",
        "bytes=,",
        "items=0-1",
        "bytes 0-1",
        "bytes=0-1\n",
        "bytes =0-1",
    ],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    """Junk, other units, ranges that end before they begin, and several ranges are ignored."""
    assert parse_range(header) is None


@pytest.mark.parametrize(
    ("requested", "size", "expected"),
    [
        (None, 10, Span(0, 10)),
        (None, 0, Span(0, 0)),
        (RequestedRange(0, 0), 10, Span(0, 1)),
        (RequestedRange(5, 99), 10, Span(5, 10)),
        (RequestedRange(9, None), 10, Span(9, 10)),
        (RequestedRange(10, None), 10, None),
        (RequestedRange(10, 20), 10, None),
        (RequestedRange(0, None), 0, None),
        (RequestedSuffix(3), 10, Span(7, 10)),
        (RequestedSuffix(99), 10, Span(0, 10)),
        (RequestedSuffix(0), 10, None),
        (RequestedSuffix(3), 0, Span(0, 0)),
    ],
)
def test_a_range_is_resolved(requested: Requested | None, size: int, expected: Span | None) -> None:
    """An end behind the object is clamped, a start behind it is not satisfiable."""
    assert resolve(requested, size) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-1,3-4", (RequestedRange(0, 1), RequestedRange(3, 4))),
        ("bytes=7-, -2 ,\t0-0", (RequestedRange(7, None), RequestedSuffix(2), RequestedRange(0, 0))),
        ("bytes=" + ",".join(["0-0"] * MAX_RANGES), (RequestedRange(0, 0),) * MAX_RANGES),
        ("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), ()),
        ("bytes=" + "," * 10**6 + "0-0", ()),
        ("bytes=0-1,junk", ()),
        ("bytes=0-1,9-5", ()),
        ("bytes=0-1,-", ()),
    ],
    ids=range(8),
)
def test_several_ranges_are_read(header: str, expected: tuple[Requested, ...]) -> None:
    """In the order they are asked for; one that is junk, or too many of them, spoil the header."""
    assert parse_ranges(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-1,4-5", [(0, 2), (4, 6)]),
        ("bytes=4-5,0-1", [(4, 6), (0, 2)]),
        ("bytes=0-4,3-6", [(0, 7)]),
        ("bytes=0-1,2-3", [(0, 4)]),
        ("bytes=0-8,2-3", [(0, 9)]),
        ("bytes=8-9,0-1,4-5,1-4", [(8, 10), (0, 6)]),
        ("bytes=-2,0-0", [(8, 10), (0, 1)]),
        ("bytes=0-0,50-60", [(0, 1)]),
        ("bytes=50-60,70-", []),
        ("bytes=0-,0-,0-,0-", [(0, 10)]),
    ],
)
def test_several_ranges_are_merged(header: str, expected: list[tuple[int, int]]) -> None:
    """What overlaps or touches is one; the rest keeps its order, and what lies behind the end is left out."""
    assert resolve_all(parse_ranges(header), 10) == [Span(*ends) for ends in expected]


@given(
    st.lists(
        st.one_of(
            st.builds(RequestedSuffix, st.integers(0, 40)),
            st.builds(lambda first, more: RequestedRange(first, first + more), st.integers(0, 40), st.integers(0, 40)),
            st.builds(RequestedRange, st.integers(0, 40), st.none()),
        ),
        max_size=8,
    ),
    st.integers(1, 30),
)
def test_merged_ranges_have_every_wanted_byte_once(requested: list[Requested], size: int) -> None:
    """And no other: no request makes more bytes be sent than the object has."""
    spans = resolve_all(requested, size)
    sent = [position for span in spans for position in range(span.start, span.stop)]
    wanted = {
        position for each in requested if (span := resolve(each, size)) for position in range(span.start, span.stop)
    }
    assert len(sent) == len(set(sent))
    assert set(sent) == wanted


@given(st.binary(min_size=1, max_size=20), st.integers(0, 30), st.integers(0, 30))
def test_a_satisfiable_range_is_that_slice(data: bytes, first: int, last: int) -> None:
    """What is sent is what Python's slicing gives."""
    requested = parse_range(f"bytes={first}-{last}")
    span = resolve(requested, len(data))
    if requested is None:
        assert last < first
    elif span is None:
        assert first >= len(data)
    else:
        assert data[span.start : span.stop] == data[first : last + 1] != b""
