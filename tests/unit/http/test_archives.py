"""Archives as other programs read them, and what is promised of their bytes."""

import io
import shutil
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast_server.http.archives import FORMATS, WHOLE_BYTES, Entry

MODIFIED = datetime(2026, 1, 28, 0, 38, 48, tzinfo=UTC)
BLOCK = bytes(WHOLE_BYTES)

FILES = {
    "exec_1/a.zarr/zarr.json": b'{"zarr_format": 3}',
    "exec_1/empty": b"",
    "exec_1/Temperatur über Grönland/气温 ⛅.txt": "вода".encode(),
    "exec_1/" + "long/" * 40 + "x" * 200: b"12345",
    'exec_1/a\\b:c*?"<>|.txt': b"what Windows cannot name",
    "exec_1/-rf": b"\0" * 512,
    "exec_1/x.zarr/c/0": bytes(range(256)) * 3,
}

SEGMENTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=150
).filter(lambda name: name not in (".", ".."))
CONTENTS = st.dictionaries(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), st.binary(max_size=1500))


def entries_of(files):
    return [Entry(name, len(data)) for name, data in files.items()]


def whole(form, files, modified=MODIFIED):
    """Write an archive; the bodies come in pieces."""
    bodies = ([data[:3], data[3:]] for data in files.values())
    return b"".join(FORMATS[form].stream(entries_of(files), bodies, modified))


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def read_tar(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


READERS = {"zip": read_zip, "tar": read_tar}


@pytest.mark.parametrize("form", FORMATS)
def test_the_standard_library_reads_what_was_written(form):
    """Names and bytes come back, in the same order."""
    assert list(READERS[form](whole(form, FILES)).items()) == list(FILES.items())


@pytest.mark.parametrize("form", FORMATS)
@given(files=CONTENTS)
def test_any_files_come_back_and_the_length_was_right(form, files):
    """Whatever Unicode the names hold; the length is announced before a byte is read."""
    data = whole(form, files)
    assert READERS[form](data) == files
    assert FORMATS[form].length(entries_of(files)) == len(data)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_files_are_the_same_bytes(form):
    """Nothing of the machine or the moment is in an archive."""
    assert whole(form, FILES) == whole(form, FILES)


def test_a_zip_says_mode_and_time():
    """Mode 0644 on Unix, the moment in UTC, and nothing is compressed."""
    with zipfile.ZipFile(io.BytesIO(whole("zip", FILES))) as archive:
        for info in archive.infolist():
            assert info.external_attr >> 16 == 0o100644
            assert info.date_time == (2026, 1, 28, 0, 38, 48)
            # The extended timestamp: tag, length, which times, seconds since 1970.
            assert info.extra == b"UT\x05\x00\x01" + int(MODIFIED.timestamp()).to_bytes(4, "little")
            assert info.compress_type == zipfile.ZIP_STORED


def test_a_tar_says_mode_time_and_nobody():
    """Mode 0644, the moment, and no owner of the machine that wrote it."""
    with tarfile.open(fileobj=io.BytesIO(whole("tar", FILES))) as archive:
        for info in archive:
            assert (info.mode, info.mtime, info.uid, info.gid) == (0o644, MODIFIED.timestamp(), 0, 0)
            assert info.isreg()
            assert (info.uname, info.gname) == ("", "")


@pytest.mark.parametrize(("year", "shown"), [(1970, 1980), (1979, 1980), (2030, 2030), (2107, 2107), (2300, 2107)])
def test_a_time_that_zip_cannot_say_is_the_nearest_year(year, shown):
    """DOS's dates begin in 1980 and end in 2107."""
    data = whole("zip", {"a": b""}, datetime(year, 6, 1, tzinfo=UTC))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.infolist()[0].date_time == (shown, 6, 1, 0, 0, 0)


UNZIP = pytest.param("unzip", marks=pytest.mark.system)


@pytest.mark.parametrize("program", [UNZIP, "tar"])
def test_the_usual_programs_extract_it(program, tmp_path):
    """Each writes the same files, without a warning."""
    form, command = {
        "unzip": ("zip", ["unzip", "-q", "archive"]),
        "tar": ("tar", ["tar", "-xf", "archive"]),
    }[program]
    files = {name: data for name, data in FILES.items() if "\\" not in name}
    (tmp_path / "archive").write_bytes(whole(form, files))
    done = subprocess.run(
        command, cwd=tmp_path, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    assert done.stdout + done.stderr == b""
    for name, data in files.items():
        assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize(("size", "follows"), [(0, False), (5, False), (WHOLE_BYTES, False), (WHOLE_BYTES + 1, True)])
def test_a_file_that_is_held_whole_has_its_checksum_in_its_header(size, follows):
    """Then readers that do not seek know where it ends; of a longer file the checksum and sizes follow."""
    data = b"".join(FORMATS["zip"].stream([Entry("a", size)], [[BLOCK[:size], bytes(size)[len(BLOCK) :]]], MODIFIED))
    flags, checksum, shown = data[6], data[14:18], data[22:26]
    assert bool(flags & 8) == follows
    assert checksum == (0 if follows else zlib.crc32(bytes(size))).to_bytes(4, "little")
    assert shown == (0 if follows else size).to_bytes(4, "little")
    assert read_zip(data) == {"a": bytes(size)}
    assert FORMATS["zip"].length([Entry("a", size)]) == len(data)


@pytest.mark.parametrize(
    "count", [pytest.param(65_534, marks=pytest.mark.long), 65_535, pytest.param(65_536, marks=pytest.mark.long)]
)
def test_a_zip_of_very_many_files(count):
    """From 65,535 entries on their number is in the ZIP64 record, and readers find all."""
    entries = [Entry(f"f/{number}", 1) for number in range(count)]
    data = b"".join(FORMATS["zip"].stream(entries, ([b"x"] for _ in entries), MODIFIED))
    assert len(data) == FORMATS["zip"].length(entries)
    assert (b"PK\6\6" in data[-98:]) == (count >= 65_535)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.infolist()) == count
        assert archive.read(f"f/{count - 1}") == b"x"


def sparse(path, chunks):
    """Write a file in which blocks of zeros take no room."""
    with path.open("wb") as file:
        for chunk in chunks:
            if len(chunk) == WHOLE_BYTES:
                file.seek(len(chunk), 1)
            else:
                file.write(chunk)
    return path


def zeros(size):
    """Yield so many zeros, most of them as one and the same block."""
    for _ in range(size // WHOLE_BYTES):
        yield BLOCK
    yield bytes(size % WHOLE_BYTES)


@pytest.mark.parametrize(
    "size", [2**32 - 2, 2**32 - 1, *(pytest.param(n, marks=pytest.mark.long) for n in (2**32, 2**32 + 7))]
)
def test_a_zip_around_four_gibibytes(tmp_path, size):
    """A size and an offset that do not fit into 32 bits are in ZIP64 fields, where readers find them."""
    entries = [Entry("large", size), Entry("behind", 3)]
    chunks = FORMATS["zip"].stream(entries, iter([zeros(size), [b"abc"]]), MODIFIED)
    path = sparse(tmp_path / "archive", chunks)
    assert path.stat().st_size == FORMATS["zip"].length(entries)
    with zipfile.ZipFile(path) as archive:
        large, behind = archive.infolist()
        assert (large.file_size, large.compress_size) == (size, size)
        assert behind.header_offset > 2**32 - 2
        assert archive.read(behind) == b"abc"
        with archive.open(large) as file:
            assert file.read(10) == bytes(10)


@pytest.mark.long
def test_every_byte_of_a_large_zip_is_checked(tmp_path):
    """The checksum behind more than 4 GiB is the right one, for zipfile and for unzip where there is one."""
    entries = [Entry("large", 2**32 + 7), Entry("behind", 3)]
    chunks = FORMATS["zip"].stream(entries, iter([zeros(2**32 + 7), [b"abc"]]), MODIFIED)
    path = sparse(tmp_path / "archive", chunks)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", str(path)], check=True, capture_output=True)


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 10**14])
def test_a_tar_of_a_file_that_is_larger_than_its_header_can_say(size):
    """From 8 GiB on the size is in a pax header."""
    entries = [Entry("exec_1/large", size)]
    head = next(iter(FORMATS["tar"].stream(entries, [[b""]], MODIFIED)))
    with tarfile.open(fileobj=io.BytesIO(head)) as archive:
        assert archive.next().size == size
    assert FORMATS["tar"].length(entries) == len(head) + size + -size % 512 + 1024


@pytest.mark.parametrize("length", range(95, 106))
def test_the_length_of_a_pax_record_counts_its_own_digits(length):
    """Also where one more digit makes it longer by one."""
    name = "é" + "x" * (length - 2)
    assert list(read_tar(whole("tar", {name: b"1", name + "/b": b"2"}))) == [name, name + "/b"]


class Many:
    """Entries that are made as they are asked for, so that nobody else keeps them."""

    def __init__(self, count) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Entry]:
        return (Entry(f"exec_1/x.zarr/temperature/c/0/{number}", 3) for number in range(self.count))


@pytest.mark.parametrize("form", FORMATS)
def test_memory_does_not_grow_with_the_files(form):
    """Of each file that was written a zip keeps four bytes, a tar none."""
    count = 30_000
    tracemalloc.start()
    try:
        for _ in FORMATS[form].stream(Many(count), ([b"abc"] for _ in range(count)), MODIFIED):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000 + 8 * count


@pytest.mark.parametrize("form", FORMATS)
def test_a_body_for_each_entry(form):
    """One too few or too many is a mistake of the caller, not an archive."""
    for bodies in ([], [[b"a"], [b"b"]]):
        with pytest.raises(ValueError, match="zip"):
            list(FORMATS[form].stream([Entry("a", 1)], bodies, MODIFIED))
