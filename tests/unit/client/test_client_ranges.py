"""Parts of a file: Python's slices, and answers that are other parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

import wildcast
from wildcast._ranges import ByteRange

BODY = bytes(range(256)) * 10


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (0, 10), (10, None), (-7, None), (10, 10_000), (-10, -3), (3, -3), (0, -1), (-10_000, None), (5, 5)],
)
def test_ranges_are_python_slices(cdn, start, end):
    """Each kind of range gives the bytes that the same slice gives."""
    cdn.publish(**{"a.bin": BODY})
    assert cdn.fs().cat_file("a.bin", start, end) == BODY[start:end]


@pytest.mark.parametrize(("start", "end"), [(0, 10), (1000, 1100), (2000, None), (-7, None), (-10_000, None)])
def test_a_whole_answer_to_a_range_is_sliced(cdn, start, end):
    """A server that ignores ranges makes no difference to the reader."""
    cdn.objects["a.bin"] = BODY
    cdn.fault = lambda path, _: Response(cdn.objects[path]) if path == "a.bin" else None
    assert cdn.fs().cat_file("a.bin", start, end) == BODY[start:end]


def test_another_part_than_asked_for_is_refused(cdn):
    """A 206 with other bytes than those asked for never reaches the reader."""
    other = {"Content-Range": f"bytes 5-14/{len(BODY)}"}
    cdn.fault = lambda path, _: Response(BODY[5:15], 206, headers=other) if path == "a.bin" else None
    with pytest.raises(wildcast.TransferBrokenError):
        cdn.fs().cat_file("a.bin", 0, 10)


def test_a_part_without_content_range_is_refused(cdn):
    """A 206 that does not say which part it is never reaches the reader."""
    cdn.fault = lambda path, _: Response(BODY[:10], 206) if path == "a.bin" else None
    with pytest.raises(wildcast.TransferBrokenError):
        cdn.fs().cat_file("a.bin", 0, 10)


@given(st.integers(0, 50), st.integers(-60, 60), st.integers(1, 60))
def test_a_range_within_a_file_is_its_slice(size, start, length):
    """Clamping a range to a size selects what slicing selects."""
    wanted = ByteRange(start) if start < 0 else ByteRange(start, start + length)
    data = bytes(range(size))
    first, last = wanted.within(size)
    assert data[first:last] == data[start : wanted.end]
    assert wanted.satisfiable(size) == bool(data[start : wanted.end])
