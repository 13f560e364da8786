"""Reading server-sent events, however the network cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast._events import Message, Parser

STREAM = (
    "retry: 2000\n\n"
    'event: status\nid: 3\ndata: {"a": "ü"}\n\n'
    ": nothing new\n\n"
    "event: progress\ndata: 1\ndata:2\n\n"
    "event: upload\r\nid: 4\r\ndata: x\r\n\r\n"
    "data: plain\n\n"
    "event: lost\n\n"
).encode()

MESSAGES = [
    Message("status", '{"a": "ü"}', "3"),
    Message("progress", "1\n2", "3"),
    Message("upload", "x", "4"),
    Message("message", "plain", "4"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_are_the_same_however_they_are_cut(cuts):
    """In the middle of a line, of a line's end, and of a character."""
    places = [0, *sorted(cuts), len(STREAM)]
    parser, found = Parser(), []
    for start, end in pairwise(places):
        found += parser.feed(STREAM[start:end])
    assert found == MESSAGES


def test_an_event_without_data_is_none():
    """Nor is one that the stream's end has cut off."""
    assert Parser().feed(b"event: status\nid: 1\n\nevent: end\ndata: 1\n") == []


@pytest.mark.parametrize(("line", "expected"), [(b"id: a\0b\n", "0"), (b"id\n", ""), (b"id: 1\n", "1"), (b"", "0")])
def test_the_last_id_is_kept(line, expected):
    """Of an event that has none it is the one before; an id that could not be sent back is none."""
    [message] = Parser("0").feed(line + b"data: 1\n\n")
    assert message.id == expected
