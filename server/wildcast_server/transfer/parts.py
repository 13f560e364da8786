"""How large the parts of a multipart upload are (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""

MIB = 1 << 20

MIN_PART_SIZE = 5 * MIB
"""The least that S3 takes, in bytes; the last part may be smaller."""

MAX_PART_SIZE = 5 << 30
"""The most that S3 takes, in bytes."""

DEFAULT_PART_SIZE = 8 * MIB

PARTS_IN_FLIGHT = 8
"""Parts of one object that travel at the same time, at most."""

_TARGET_PARTS = 9000
"""S3 takes 10,000; the rest is room for rounding."""


def optimal_part_size(size: int, at_least: int = DEFAULT_PART_SIZE) -> int:
    """Return the part size in bytes for an object of `size` bytes.

    Parameters
    ----------
    size
        Of the object.
    at_least
        What to use as long as it makes no more than 9,000 parts.

    Returns
    -------
    int
        `at_least`, or the next whole MiB above a nine-thousandth of the object; between 5 MiB and 5 GiB.
    """
    needed = -(-size // _TARGET_PARTS)
    rounded = -(-needed // MIB) * MIB
    return min(max(at_least if needed <= at_least else rounded, MIN_PART_SIZE), MAX_PART_SIZE)
