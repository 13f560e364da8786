"""Part sizes and checksums."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast_server.transfer.checksums import Crc64Nvme, Md5Etag
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE, MAX_PART_SIZE, MIB, MIN_PART_SIZE, optimal_part_size


@given(size=st.integers(0, 45 << 40), at_least=st.integers(1, MAX_PART_SIZE))
def test_part_sizes_keep_to_the_limits(size: int, at_least: int):
    """For any object up to 45 TiB there are at most 10,000 parts of 5 MiB to 5 GiB."""
    part = optimal_part_size(size, at_least)
    assert MIN_PART_SIZE <= part <= MAX_PART_SIZE
    assert -(-size // part) <= 10_000
    assert part >= at_least or part == MAX_PART_SIZE


@pytest.mark.parametrize(
    ("size", "part"),
    [(0, DEFAULT_PART_SIZE), (9000 * DEFAULT_PART_SIZE, DEFAULT_PART_SIZE), (9000 * DEFAULT_PART_SIZE + 1, 9 * MIB)],
)
def test_part_sizes_grow_only_when_needed(size: int, part: int):
    """8 MiB will do up to 9,000 parts of it; then the next whole MiB is taken."""
    assert optimal_part_size(size) == part


def test_crc64nvme_known_answer():
    """The checksum of ``123456789`` is that of the CRC catalogue (CRC-64/NVME)."""
    crc = Crc64Nvme()
    crc.update(b"123456789")
    assert base64.b64decode(crc.base64()).hex() == "ae8b14860a799888"


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_crc64nvme_does_not_depend_on_the_pieces(pieces: list[bytes]):
    """However the bytes are cut, the checksum is that of the whole."""
    whole, cut = Crc64Nvme(), Crc64Nvme()
    whole.update(b"".join(pieces))
    for piece in pieces:
        cut.update(piece)
    assert cut.base64() == whole.base64()


def test_md5_etags():
    """One request has the MD5 of its bytes, several parts the MD5 of their MD5s and their number."""
    one, two = Md5Etag(), Md5Etag()
    one.update(b"a")
    assert one.etag(multipart=False) == f'"{hashlib.md5(b"a").hexdigest()}"'  # noqa: S324 - that is what S3 uses
    two.update(b"a")
    two.update(b"b")
    digests = hashlib.md5(b"a").digest() + hashlib.md5(b"b").digest()  # noqa: S324 - the same
    assert two.etag(multipart=True) == f'"{hashlib.md5(digests).hexdigest()}-2"'  # noqa: S324 - the same
