"""Ranges of an object as obstore takes them."""

from typing import TYPE_CHECKING

from wildcast_server.store.base import ByteRange, ObjectRange, OffsetRange, SuffixRange

if TYPE_CHECKING:
    from obstore import GetOptions


def is_empty(byte_range: ObjectRange) -> bool:
    """Whether no object could have a byte in it."""
    match byte_range:
        case ByteRange(start, stop):
            return start < 0 or stop <= start
        case OffsetRange(start):
            return start < 0
        case SuffixRange(length):
            return length <= 0


def get_options(byte_range: ObjectRange | None) -> "GetOptions | None":
    """Return how obstore is asked for it."""
    match byte_range:
        case None:
            return None
        case ByteRange(start, stop):
            return {"range": (start, stop)}
        case OffsetRange(start):
            return {"range": {"offset": start}}
        case SuffixRange(length):
            return {"range": {"suffix": length}}
