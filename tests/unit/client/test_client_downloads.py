"""Downloads: whole or not there, gone on with after a kill, and nothing twice."""

import asyncio
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from starlette.responses import Response, StreamingResponse

import wildcast
from wildcast._downloading import select
from wildcast._listing import Listing
from wildcast._parts import PART, partial_of, write_whole
from wildcast._result import AsyncResult

SMALL_FILES = {f"s.zarr/c/{number}": bytes([number]) * 1000 for number in range(30)} | {"s.zarr/zarr.json": b"{}"}
BIG = bytes(range(256)) * (2 * PART // 256) + b"the end"


@pytest.fixture
def result(server):
    """A result with small files, a large one and an odd name; its CDN is `server.cdn`."""
    server.cdn.publish(**SMALL_FILES, **{"big.bin": BIG, "plots/map #1.png": b"png", "empty": b""})
    return server.result()


def files_below(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def data_of(cdn):
    return {path: body for path, body in cdn.objects.items() if not path.startswith(".wildcast")}


def test_everything_is_downloaded(result, server, tmp_path):
    """Each file is below the directory under its own path, and nothing else is."""
    written = result.download(tmp_path / "new")
    assert files_below(tmp_path / "new") == data_of(server.cdn)
    assert written == [tmp_path / "new" / path for path in sorted(data_of(server.cdn))]


def test_a_large_file_arrives_in_parts(result, server, tmp_path):
    """Its parts are asked for by range, each once."""
    result.download(tmp_path, "big.bin")
    ranges = [wanted for _, path, wanted in server.cdn.requests if path == "big.bin"]
    assert sorted(ranges) == [f"bytes=0-{PART - 1}", f"bytes={2 * PART}-{2 * PART + 6}", f"bytes={PART}-{2 * PART - 1}"]


def test_an_async_result_downloads_in_its_own_loop(result, server, tmp_path):
    """Those who await get the same files."""
    awaited = AsyncResult(result._api, "wf", result.metadata)

    async def both():
        return await awaited.download(tmp_path / "a"), await awaited.download_file("empty", tmp_path / "b")

    asyncio.run(both())
    assert files_below(tmp_path / "a") == data_of(server.cdn)
    assert files_below(tmp_path / "b") == {"empty": b""}


def test_what_is_there_and_right_is_left_alone(result, server, tmp_path):
    """A second run asks for nothing, and replaces only what is not as it should be."""
    result.download(tmp_path)
    (tmp_path / "s.zarr" / "c" / "3").write_bytes(b"x" * 1000)
    (tmp_path / "big.bin").write_bytes(BIG[:-1])
    server.cdn.requests.clear()
    result.download(tmp_path)
    assert {path for _, path, _ in server.cdn.requests} == {"s.zarr/c/3", "big.bin"}
    assert files_below(tmp_path) == data_of(server.cdn)


def test_nothing_is_overwritten_unless_it_may_be(result, tmp_path):
    """Where another file is, a download that may not replace it changes nothing."""
    (tmp_path / "empty").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="empty"):
        result.download(tmp_path, overwrite=False)
    assert files_below(tmp_path) == {"empty": b"precious"}


PATTERNS = {
    None: ["a.nc", "b/c.nc", "b/d/e.txt"],
    "a.nc": ["a.nc"],
    "b": ["b/c.nc", "b/d/e.txt"],
    "b/": ["b/c.nc", "b/d/e.txt"],
    "*.nc": ["a.nc"],
    "**/*.nc": ["a.nc", "b/c.nc"],
    "b/*/?.txt": ["b/d/e.txt"],
    "b/**": ["b/c.nc", "b/d/e.txt"],
    "nothing": [],
    "*.NC": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_a_file_a_directory_or_a_glob(pattern):
    """What each names is what a shell's globs name."""
    listing = Listing(dict.fromkeys(["a.nc", "b/c.nc", "b/d/e.txt"], 1))
    assert [entry.path for entry in select(listing, pattern)] == PATTERNS[pattern]


def test_a_pattern_that_names_nothing_is_an_error(result, tmp_path):
    """A misspelt name does not look like a finished download."""
    with pytest.raises(wildcast.MissingFileError, match="typo"):
        result.download(tmp_path, "typo*")


def test_a_stale_copy_is_not_kept(result, server, tmp_path):
    """A file of the right size and another content is an error, and not on disk; large files too."""
    for path in ("s.zarr/c/7", "big.bin"):
        server.cdn.objects[path] = bytes(reversed(server.cdn.objects[path]))[:-1] + b"\1"
    for pattern in ("s.zarr/c/7", "big.bin"):
        with pytest.raises(wildcast.StaleObjectError):
            result.download(tmp_path, pattern)
    assert not [path for path in files_below(tmp_path) if not path.endswith((".partial", ".parts"))]


def test_a_stale_copy_without_etag_is_not_kept(result, server, tmp_path):
    """Where nothing but the checksum tells it, the checksum does, and the next run begins anew."""
    stale = bytes(reversed(BIG))

    server.cdn.fault = lambda path, request: part_of_big(request, stale) if path == "big.bin" else None
    with pytest.raises(wildcast.StaleObjectError, match="checksum"):
        result.download(tmp_path, "big.bin")
    assert files_below(tmp_path) == {}
    server.cdn.fault = None
    result.download(tmp_path, "big.bin")
    assert files_below(tmp_path) == {"big.bin": BIG}


def test_a_server_that_ignores_ranges_is_read_in_one_stream(result, server, tmp_path):
    """A large file still arrives, once."""
    server.cdn.fault = lambda path, _: Response(BIG) if path == "big.bin" else None
    result.download(tmp_path, "big.bin")
    assert files_below(tmp_path) == {"big.bin": BIG}


def test_a_result_without_manifest_is_downloaded(server, tmp_path):
    """Of a server that has no manifests, sizes are what a file is held to."""
    server.cdn.objects.update(SMALL_FILES)
    result = server.result()
    result.download(tmp_path)
    assert files_below(tmp_path) == SMALL_FILES
    server.cdn.requests.clear()
    result.download(tmp_path)
    assert server.cdn.requests == []


def test_too_little_space_is_said_before(result, server, tmp_path, monkeypatch):
    """Nothing is asked for that there is no room for, and the sentence says how much is wanted."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(wildcast.DiskFullError, match=r"0\.00 GB free and the download needs 0\.02 GB"):
        result.download(tmp_path)
    assert server.cdn.asked("big.bin") == 0


def test_a_failure_ends_the_download_and_says_why(result, server, tmp_path):
    """The first error is the download's, as it is, and not a group of errors."""
    server.cdn.fault = lambda path, _: Response("no", 403) if path == "s.zarr/c/5" else None
    with pytest.raises(wildcast.AccessRefusedError):
        result.download(tmp_path)


def test_a_bar_counts_bytes(result, tmp_path, capsys):
    """Whoever asks for a bar sees how much is done, also of what is gone on with."""
    result.download(tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert "16.8M/16.8M" in shown


CHILD = """
import sys, wildcast
from wildcast._downloading import Download
from wildcast._progress import DownloadBar
import asyncio, pathlib
fs = wildcast.SignedFileSystem({url!r})
asyncio.run(Download(fs._reader, DownloadBar("x", False)).run(pathlib.Path({dest!r}), None))
"""


def test_a_killed_download_is_gone_on_with(result, server, tmp_path):
    """After kill -9 nothing unfinished has a file's name, and the next run asks only for the parts that are missing."""
    held = threading.Event()

    def hold_the_last(path, request):
        if path != "big.bin" or request.headers["range"].startswith(f"bytes={PART}-"):
            return None if path != "big.bin" else StreamingResponse(never(), 206, headers=head_of_second)
        return None

    head_of_second = {"Content-Range": f"bytes {PART}-{2 * PART - 1}/{len(BIG)}", "Content-Length": str(PART)}

    async def never():
        yield BIG[PART : PART + 1000]
        held.set()
        await asyncio.sleep(30)

    server.cdn.fault = hold_the_last
    code = CHILD.format(url=server.cdn.signed(), dest=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        deadline = time.monotonic() + 60
        while not (held.is_set() and journal_size(tmp_path) == 2 and (tmp_path / "empty").exists()):
            assert time.monotonic() < deadline, "the download did not come to the held part"
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert not (tmp_path / "big.bin").exists()
    server.cdn.fault = None
    server.cdn.requests.clear()
    result.download(tmp_path)
    assert [wanted for _, path, wanted in server.cdn.requests if path == "big.bin"] == [f"bytes={PART}-{2 * PART - 1}"]
    assert files_below(tmp_path) == data_of(server.cdn)


def journal_size(directory):
    return sum(path.stat().st_size for path in directory.glob("*.parts")) // 12


def test_one_file_is_gone_on_with_as_well(result, server, tmp_path, monkeypatch):
    """`download_file` brings the parts that are missing, and nothing where the file is there."""
    monkeypatch.setattr("wildcast._downloading.connections", lambda: 1)
    last = f"bytes={2 * PART}-"
    server.cdn.fault = lambda _, request: (
        Response("no", 400) if request.headers.get("range", "").startswith(last) else None
    )
    with pytest.raises(wildcast.ReadError):
        result.download_file("big.bin", tmp_path)
    server.cdn.fault = None
    asked = server.cdn.asked("big.bin")
    for _ in range(2):
        assert result.download_file("big.bin", tmp_path) == tmp_path / "big.bin"
    assert files_below(tmp_path) == {"big.bin": BIG}
    assert server.cdn.asked("big.bin") == asked + 1


def test_a_part_that_was_damaged_meanwhile_is_fetched_again(result, server, tmp_path):
    """What an earlier run wrote is believed only with its checksum."""
    third = f"bytes={2 * PART}-"

    def refuse_third(path, request):
        return Response("no", 403) if path == "big.bin" and third in request.headers["range"] else None

    server.cdn.fault = refuse_third
    with pytest.raises(wildcast.AccessRefusedError):
        result.download(tmp_path, "big.bin")
    for partial in tmp_path.glob("*.partial"):
        with partial.open("r+b") as file:
            file.write(b"damaged")
    server.cdn.fault = None
    result.download(tmp_path, "big.bin")
    assert files_below(tmp_path) == {"big.bin": BIG}


def partial_of_file(result, directory, path):
    """Where a download keeps what it has of a file."""
    expected = asyncio.run(result.fs._reader.listing()).expected(path)
    return partial_of(directory / path, path, expected)


def refuse_the_third_part(server):
    third = f"bytes={2 * PART}-"
    server.cdn.fault = lambda path, request: (
        Response("no", 403) if path == "big.bin" and third in request.headers["range"] else None
    )


def held(gate, response):
    """Answer once the gate is open, and not even with headers before."""

    async def answer(scope, receive, send):
        await asyncio.to_thread(gate.wait, 30)
        await response(scope, receive, send)

    return answer


def part_of_big(request, body=BIG):
    """Answer with a range of a body, without an ETag by which another version would be known."""
    first, last = (int(text) for text in request.headers["range"].removeprefix("bytes=").split("-"))
    return Response(body[first : last + 1], 206, headers={"Content-Range": f"bytes {first}-{last}/{len(body)}"})


@pytest.mark.parametrize("second", ["is done first", "finds another version"])
def test_two_downloads_into_one_directory_leave_each_other_alone(result, server, tmp_path, second):
    """What becomes of one, done or given up, is nothing to the other; neither leaves anything behind."""
    gate, first_waits, asked = threading.Event(), threading.Event(), []

    def hold_the_first(path, request):
        if path != "big.bin" or f"bytes={2 * PART}-" not in request.headers["range"]:
            return None
        asked.append(path)
        if len(asked) == 1:
            first_waits.set()
            return held(gate, part_of_big(request))
        return part_of_big(request, BIG[:-1] + b"X" if second == "finds another version" else BIG)

    server.cdn.fault = hold_the_first
    with ThreadPoolExecutor() as pool:
        first = pool.submit(result.download, tmp_path, "big.bin")
        assert first_waits.wait(30)
        with nullcontext() if second == "is done first" else pytest.raises(wildcast.StaleObjectError):
            result.download(tmp_path, "big.bin")
        gate.set()
        assert first.result(60) == [tmp_path / "big.bin"]
    assert files_below(tmp_path) == {"big.bin": BIG}


def test_a_partial_file_that_was_removed_is_no_hole(result, server, tmp_path):
    """Whoever removes what has arrived so far does not get a file without it."""
    gate, waits = threading.Event(), threading.Event()

    def hold_the_third(path, request):
        if path != "big.bin" or f"bytes={2 * PART}-" not in request.headers["range"] or gate.is_set():
            return None
        waits.set()
        return held(gate, part_of_big(request))

    server.cdn.fault = hold_the_third
    partial = partial_of_file(result, tmp_path, "big.bin")
    with ThreadPoolExecutor() as pool:
        download = pool.submit(result.download, tmp_path, "big.bin")
        assert waits.wait(30)
        partial.unlink()
        partial.write_bytes(bytes(len(BIG)))
        gate.set()
        with pytest.raises(wildcast.TransferBrokenError, match="was removed"):
            download.result(60)
    assert not (tmp_path / "big.bin").exists()


def test_a_small_file_may_be_written_by_many_at_once(result, tmp_path):
    """Each run finds it right in the end, whoever was first."""
    path, target = "s.zarr/c/7", tmp_path / "7"
    expected = asyncio.run(result.fs._reader.listing()).expected(path)

    def write(_):
        for _ in range(200):
            write_whole(target, path, expected, SMALL_FILES[path])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert files_below(tmp_path) == {"7": SMALL_FILES[path]}


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * {part} + 3, resource.RLIM_INFINITY))
"""


def test_what_a_full_disk_does_not_take_is_no_file(result, server, tmp_path):
    """Where the system writes less than it was given and says so in a number alone, nothing takes the file's name."""
    refuse_the_third_part(server)
    with pytest.raises(wildcast.AccessRefusedError):
        result.download(tmp_path, "big.bin")
    server.cdn.fault = None
    code = LIMITED.format(part=PART) + CHILD.format(url=server.cdn.signed(), dest=str(tmp_path))
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "File too large" in child.stderr
    assert not (tmp_path / "big.bin").exists()
    result.download(tmp_path, "big.bin")
    assert (tmp_path / "big.bin").read_bytes() == BIG


def test_a_record_that_was_cut_does_not_spoil_those_behind_it(result, server, tmp_path):
    """After a kill, or on a disk that was full for a moment, a journal begins where its last whole record ends."""
    journal = partial_of_file(result, tmp_path, "big.bin").with_suffix(".parts")
    journal.write_bytes(b"x" * (12 + 5))
    refuse_the_third_part(server)
    with pytest.raises(wildcast.AccessRefusedError):
        result.download(tmp_path, "big.bin")
    assert journal.stat().st_size % 12 == 0


@pytest.mark.parametrize(("path", "ending"), [("big.bin", ".partial"), ("big.bin", ".parts"), ("empty", ".partial")])
def test_nothing_is_written_through_a_link(result, tmp_path, path, ending):
    """Whoever may write to the directory, too, cannot choose another file that a download spoils."""
    directory, victim = tmp_path / "shared", tmp_path / "precious"
    directory.mkdir()
    victim.write_bytes(b"precious")
    link = partial_of_file(result, directory, path).with_suffix(ending)
    link.symlink_to(victim)
    with pytest.raises(wildcast.UnsafePathError, match=f"{link.name} is a link"):
        result.download(directory, path)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("path", ["big.bin", "empty"])
def test_a_directory_in_a_files_place_is_named(result, server, tmp_path, path):
    """Before anything is asked for, with what to do; all at once and one alone."""
    (tmp_path / path).mkdir()
    server.cdn.requests.clear()
    with pytest.raises(FileExistsError, match=f"{path} is a directory, and the result has a file of that name; move"):
        result.download(tmp_path)
    assert server.cdn.asked(path) == 0
    with pytest.raises(FileExistsError, match=f"{path} is a directory, and the result has a file of that name; move"):
        result.download_file(path, tmp_path)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


def test_a_file_in_a_directorys_place_is_named(result, tmp_path):
    """Below the directory that was named, and that one itself."""
    (tmp_path / "s.zarr").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"s\.zarr is a file, and the result has a directory of that"):
        result.download(tmp_path)
    for dest in (tmp_path / "s.zarr", tmp_path / "s.zarr" / "below"):
        with pytest.raises(FileExistsError, match="cannot be a directory: it is a file, or lies below one"):
            result.download(dest)
    assert files_below(tmp_path) == {"s.zarr": b"mine"}
