"""Every fault at every moment, in every format and way of reading: the right values or an exception, never others.

So it is with a manifest, also below the URL of a directory, and with the list of what is there so far. Of a prefix
with neither all but another version of the same size is known. The stores are not compressed, so that no codec notices
what the client should have. `pytest -s` prints the counts.
"""

import asyncio
import functools
import gc
import io
import itertools
import multiprocessing
import socket
import struct
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.storage import FsspecStore

import wildcast
from wildcast._api import Api
from wildcast._fixed_source import with_manifest
from wildcast._retry import Retry
from wildcast._sources import ApiSource, parse
from wildcast.contract.manifest import Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH, PARTIAL_PATH
from wildcast.contract.policy import Policy, b64_encode, encode_policy

PREFIX = "/outputs/exec_1769560728_10ed9d3c"
VALUES = np.arange(1.0, 65).reshape(8, 8)
PARTS = (slice(0, 3), slice(3, None))
"""The first cuts through chunks and shards, so that of a shard only ranges are read."""

TIMEOUT = 0.25

FORMATS = {
    "zarr 2": ("two.zarr", {"zarr_format": 2, "encoding": {"t": {"chunks": (4, 4), "compressors": None}}}),
    "zarr 3": ("three.zarr", {"zarr_format": 3, "encoding": {"t": {"chunks": (4, 4), "compressors": None}}}),
    "zarr 3, sharded": (
        "sharded.zarr",
        {"zarr_format": 3, "encoding": {"t": {"chunks": (2, 2), "shards": (4, 4), "compressors": None}}},
    ),
    "zarr 3, index first": ("index.zarr", None),
    "fill value 0": (
        "zero.zarr",
        {"zarr_format": 3, "encoding": {"t": {"chunks": (4, 4), "compressors": None, "fill_value": 0.0}}},
    ),
    "netCDF": ("d.nc", {"engine": "h5netcdf", "encoding": {"t": {"chunksizes": (4, 4)}}}),
}


@dataclass
class Reply:
    """An answer as it goes over the wire, and how it ends."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    """Bytes of the body that are sent; all if None."""
    end: str = "keep"
    """``keep`` the connection, ``close`` or ``reset`` it, ``stall``, or ``dribble`` the body."""


@dataclass(frozen=True)
class Request:
    """What was asked for, and how it would be answered rightly."""

    method: str
    path: str
    headers: dict[str, str]
    good: Reply
    whole: bytes

    @property
    def is_ranged(self) -> bool:
        return "range" in self.headers


Fault = Callable[[Request], Reply | None]

S3_REFUSAL = b"<Error><Code>AccessDenied</Code><RequestId>R</RequestId><HostId>H</HostId></Error>"


def wrong_range(request: Request) -> Reply | None:
    if not request.is_ranged or request.good.status != 206:
        return None
    span, _, size = request.good.headers["Content-Range"].removeprefix("bytes ").partition("/")
    first, last = map(int, span.split("-"))
    return replace(
        request.good, headers={**request.good.headers, "Content-Range": f"bytes {first + 1}-{last + 1}/{size}"}
    )


def stale(request: Request) -> Reply:
    """Another version of the same size, whose ETag tells."""
    other = bytes(reversed(request.good.body))
    return replace(request.good, body=other, headers={**request.good.headers, "ETag": '"another"'})


def longer(request: Request) -> Reply:
    headers = dict(request.good.headers)
    if "Content-Range" in headers:
        headers["Content-Range"] = headers["Content-Range"].rpartition("/")[0] + "/999999"
        return replace(request.good, headers=headers)
    return replace(request.good, body=request.good.body + bytes(8))


def shorter(request: Request) -> Reply:
    return replace(request.good, body=request.good.body[: len(request.good.body) // 2])


def cut(request: Request, end: str = "close") -> Reply:
    return replace(request.good, sent=len(request.good.body) // 2, end=end)


FAULTS: dict[str, Fault] = {
    "refused by the CDN": lambda _: Reply(403, b"<Error><Code>AccessDenied</Code></Error>", {"Server": "CloudFront"}),
    "expired": lambda _: Reply(403, b"<Error><Code>AccessDenied</Code></Error>", {"Server": "CloudFront"}),
    "refused by the origin": lambda _: Reply(403, S3_REFUSAL, {"Server": "AmazonS3"}),
    "404 of a listed object": lambda _: Reply(404, b"<Error><Code>NoSuchKey</Code></Error>"),
    "410": lambda _: Reply(410),
    "416 without reason": lambda _: Reply(416),
    "body cut off": cut,
    "body shorter, with its own length": shorter,
    "connection reset": lambda request: cut(request, "reset"),
    "5xx, then good": lambda _: Reply(503),
    "5xx for ever": lambda _: Reply(500, b"oops"),
    "200 to a range": lambda request: Reply(200, request.whole, {"ETag": request.good.headers["ETag"]}),
    "another range": wrong_range,
    "stale, by size": longer,
    "stale, by ETag": stale,
    "HTML page with 200": lambda _: Reply(200, b"<html>Not found</html>", {"Content-Type": "text/html"}),
    "redirect": lambda _: Reply(302, headers={"Location": "http://127.0.0.1:9/login"}),
    "content encoding": lambda request: replace(
        request.good, headers={**request.good.headers, "Content-Encoding": "gzip"}
    ),
    "empty": lambda _: Reply(200),
    "slow": lambda request: replace(request.good, end="dribble"),
    "stalled body": lambda request: cut(request, "stall"),
}

RIGHT = {"5xx, then good", "200 to a range", "slow"}
"""After these the values are right; after the others reading raises, unless none of its requests has a range."""

ONLY_RANGES = {"another range"}


class Cdn:
    """An HTTP server of raw sockets, so that it can end a connection in any way."""

    def __init__(self, objects: dict[str, bytes], etag_of: Callable[[bytes], str]) -> None:
        self.objects, self._etag_of = objects, etag_of
        self.fault: Fault | None = None
        self.hidden: frozenset[str] = frozenset()
        self._server: asyncio.Server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._server.close()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def signed(self, expires_in: float = 3600, path: str = "*") -> str:
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{PREFIX}/{path}"
        policy = Policy(resource=url, expires=int(time.time() + expires_in))
        return f"{url}?Policy={b64_encode(encode_policy(policy))}&Signature=s&Key-Pair-Id=K1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields)}
                method, target, _ = line.split(" ")
                path = target.partition("?")[0].removeprefix(f"{PREFIX}/")
                request = Request(method, path, headers, self._good(path, headers), self.objects.get(path, b""))
                reply = (self.fault(request) if self.fault else None) or request.good
                if not await self._send(writer, reply, method):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _good(self, path: str, headers: dict[str, str]) -> Reply:
        body = None if path in self.hidden else self.objects.get(path)
        if body is None:
            return Reply(404)
        etag = {"ETag": self._etag_of(body)}
        if "range" not in headers:
            return Reply(200, body, etag)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start = int(first) if first else max(len(body) - int(last), 0)
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        return Reply(206, body[start:end], {**etag, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply, method: str) -> bool:
        fields = {"Content-Length": str(len(reply.body)), **reply.headers}
        head = f"HTTP/1.1 {reply.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        body = b"" if method == "HEAD" else reply.body if reply.sent is None else reply.body[: reply.sent]
        if reply.end == "dribble":
            writer.write(head.encode() + b"\r\n" + body[:1])
            await asyncio.sleep(0.002)
            body, head = body[1:], ""
        writer.write((f"{head}\r\n".encode() if head else b"") + body)
        await writer.drain()
        if reply.end == "stall":
            await asyncio.sleep(TIMEOUT * 8)
        if reply.end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        return reply.end in ("keep", "dribble")


def write_with_index_first(directory: Path) -> None:
    """Write shards as xarray cannot: a shard that is cut off keeps its index then, which says where chunks were."""
    shard = ShardingCodec(chunk_shape=(2, 2), codecs=[BytesCodec()], index_location="start")
    group = zarr.create_group(directory, zarr_format=3)
    array = group.create_array(
        "t", shape=(8, 8), chunks=(4, 4), dtype="f8", compressors=None, serializer=shard, dimension_names=("y", "x")
    )
    array[:] = VALUES
    zarr.consolidate_metadata(group.store)


@pytest.fixture(scope="module")
def cdn(tmp_path_factory, manifest_row) -> Iterator[Cdn]:
    """A CDN with the same data in every format, and their manifest, which is also the list of what is there so far."""
    directory = tmp_path_factory.mktemp("published")
    data = xr.Dataset({"t": (("y", "x"), VALUES)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        write_with_index_first(directory / FORMATS["zarr 3, index first"][0])
        for name, options in FORMATS.values():
            if options is None:
                continue
            (data.to_netcdf if name.endswith(".nc") else data.to_zarr)(directory / name, **options)
    files = [path for path in directory.rglob("*") if path.is_file()]
    objects = {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
    rows = [manifest_row(path, body) for path, body in objects.items()]
    head = {"execution": PREFIX.rpartition("/")[2], "attempt": 1, "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    listed = encode_manifest(Manifest.of(rows, **head, verified="crc64nvme", datasets=()))
    objects.update(dict.fromkeys(LISTS, listed))
    with Cdn(objects, lambda body: manifest_row("x", body).etag) as server:
        yield server


def whole(cdn: Cdn, _name: str, ends: float) -> tuple[dict[str, object], str]:
    return {"source": cdn.signed(ends)}, "*"


def directory(cdn: Cdn, name: str, ends: float) -> tuple[dict[str, object], str]:
    return {"source": with_manifest(cdn.signed(ends, f"{name}/*"), cdn.signed(ends, MANIFEST_PATH))}, name


def partial(cdn: Cdn, _name: str, ends: float) -> tuple[dict[str, object], str]:
    api = Api("http://127.0.0.1:9", retry=Retry(attempts=1))
    source = ApiSource(api, "wf", PREFIX.rpartition("/")[2], parse(cdn.signed(ends)), partial=True)
    return {
        "source": source,
        "files": {path: len(body) for path, body in cdn.objects.items() if path not in LISTS},
    }, "*"


LISTS = frozenset({MANIFEST_PATH, PARTIAL_PATH})

PUBLICATIONS = {
    "manifest": (whole, {MANIFEST_PATH}),
    "directory": (directory, {MANIFEST_PATH}),
    "no manifest": (whole, frozenset[str]()),
    "partial": (partial, {PARTIAL_PATH}),
}
"""How each is read, and which list it has."""

UNKNOWABLE = {"stale, by ETag"}
"""What nobody can know without a list: that a file is another one, of the same size."""


def filesystem(cdn: Cdn, publication: str, name: str, fault: str) -> tuple[wildcast.SignedFileSystem, str]:
    """Return a filesystem, and where in it the data of that name are."""
    # A stalled body costs its timeout with each attempt; one shows as much as three.
    retry = Retry(attempts=1 if fault == "stalled body" else 3, base=0.001, cap=0.002)
    options, below = PUBLICATIONS[publication][0](cdn, name, -5 if fault == "expired" else 3600)
    fs = wildcast.SignedFileSystem(**options, retry=retry, timeout=TIMEOUT)
    return fs, "" if below == name else name


def opened_by_xarray(fs: wildcast.SignedFileSystem, name: str, chunks: object) -> xr.Dataset:
    if name.endswith(".nc"):
        return xr.open_dataset(fs.open(name, block_size=1024), engine="h5netcdf", chunks=chunks)
    return xr.open_zarr(fs.get_mapper(name), consolidated=True, chunks=chunks)


def synchronously(fs, name, opened):
    with opened_by_xarray(fs, name, None) as data:
        opened()
        return np.concatenate([data["t"][part].to_numpy() for part in PARTS])


def with_dask(fs, name, opened):
    with opened_by_xarray(fs, name, {}) as data:
        opened()
        return np.concatenate([data["t"][part].data.compute(scheduler="threads", num_workers=4) for part in PARTS])


def awaiting(fs, name, opened):
    async def read():
        if name.endswith(".nc"):
            size = (await fs._info(name))["size"]
            opened()
            parts = [fs._cat_file(name, start, min(start + 1024, size)) for start in range(0, size, 1024)]
            return xr.open_dataset(io.BytesIO(b"".join(await asyncio.gather(*parts))), engine="h5netcdf")[
                "t"
            ].to_numpy()
        store = FsspecStore(fs, path=name, read_only=True)
        array = await (await zarr.api.asynchronous.open_group(store, mode="r")).getitem("t")
        opened()
        return np.concatenate([await array.getitem(part) for part in PARTS])

    return asyncio.run(read())


def with_processes(fs, name, opened):
    with opened_by_xarray(fs, name, {}) as data:
        opened()
        parts = [data["t"][part].data for part in PARTS]
        return np.concatenate([part.compute(scheduler="processes", pool=processes()) for part in parts])


@functools.cache
def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


WAYS = {
    "synchronous": synchronously,
    "asynchronous": awaiting,
    "dask threads": with_dask,
    "dask processes": with_processes,
}

MOMENTS = ("opening", "first chunk", "middle")


def read(cdn: Cdn, publication: str, name: str, way: str, fault: str, moment: str) -> tuple[str, int]:
    """Read everything with a fault; say how it went, and how many answers were faulty."""
    faulty, seen, passed = [0], set(), [0]
    state = {"is_on": moment == "opening"}

    def inject(request: Request) -> Reply | None:
        if not state["is_on"] or (moment != "opening" and request.path in LISTS):
            return None
        if moment == "middle" and passed[0] < 1:
            passed[0] += 1
            return None
        key = (request.path, request.headers.get("range"))
        if fault == "5xx, then good" and key in seen:
            return None
        seen.add(key)
        reply = FAULTS[fault](request) if request.good.status in (200, 206) else None
        faulty[0] += reply is not None
        return reply

    cdn.fault = inject
    cdn.hidden = LISTS - PUBLICATIONS[publication][1]
    try:
        fs, path = filesystem(cdn, publication, name, fault)
        values = WAYS[way](fs, path, lambda: state.update(is_on=True))
    except Exception as error:  # noqa: BLE001 - that it is one is what counts
        # Where everything is gone, manifest and all, nothing is opened: that may be called missing.
        is_gone = fault.startswith("404") and moment == "opening"
        is_missing = isinstance(error, FileNotFoundError | KeyError) and not is_gone
        return "missing" if is_missing else "raised", faulty[0]
    finally:
        cdn.fault = None
    return ("right" if np.array_equal(values, VALUES) else "silent"), faulty[0]


COUNTS = {publication: {fault: Counter() for fault in FAULTS} for publication in PUBLICATIONS}


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    gc.freeze()  # Looking through everything else for garbage would take most of the time.
    yield
    gc.unfreeze()
    if processes.cache_info().currsize:
        processes().shutdown()
    lines = ["| fault |" + "".join(f" {name} |" for name in COUNTS), "| --- |" + " --- |" * len(COUNTS)]
    totals = {name: sum(faults.values(), Counter()) for name, faults in COUNTS.items()}
    for fault in [*FAULTS, "all"]:
        counts = [totals[name] if fault == "all" else COUNTS[name][fault] for name in COUNTS]
        lines.append(f"| {fault} |" + "".join(f" {c['right']} / {c['raised']} / {c['silent']} |" for c in counts))
    print("\nright values / an exception / silently wrong\n" + "\n".join(lines))  # noqa: T201


ALWAYS = {
    ("manifest", "zarr 2", "dask threads"),
    ("manifest", "zarr 3, sharded", "asynchronous"),
    ("manifest", "fill value 0", "synchronous"),
    ("manifest", "netCDF", "synchronous"),
    ("directory", "zarr 3", "asynchronous"),
    ("no manifest", "zarr 3, index first", "asynchronous"),
    ("no manifest", "netCDF", "synchronous"),
    ("partial", "zarr 2", "asynchronous"),
    ("partial", "zarr 3, sharded", "dask threads"),
}
"""The cells that are not left to the long tests: together every format's kind of request, and every way but one."""

CASES = [
    pytest.param(*case, marks=() if case in ALWAYS else pytest.mark.long)
    for case in itertools.product(PUBLICATIONS, FORMATS, WAYS)
    if case[:2] != ("directory", "netCDF")  # which is a file
    and (case[2] != "dask processes" or case[1] in ("zarr 2", "fill value 0"))  # Each is slow, and like the threads.
    and case != ("no manifest", "netCDF", "asynchronous")  # Its pieces are of no open file.
]


@pytest.mark.parametrize(("publication", "kind", "way"), CASES)
def test_no_fault_reads_as_another_value(cdn, publication, kind, way):
    """Whatever goes wrong, and whenever: the right values, or an exception that is not "missing"."""
    if way.startswith("dask"):
        pytest.importorskip("dask")
    name, unexpected = FORMATS[kind][0], []
    for fault in FAULTS:
        for moment in MOMENTS:
            outcome, faulty = read(cdn, publication, name, way, fault, moment)
            COUNTS[publication][fault][outcome] += 1
            if fault not in ONLY_RANGES:
                assert faulty, f"{fault} while {moment} did not happen"
            if name.endswith(".nc"):
                gc.collect()  # What h5py has left half open must be freed by this thread, and not by fsspec's.
            if outcome not in allowed(publication, kind, fault, faulty):
                unexpected.append((fault, moment, outcome))
    assert unexpected == []


def allowed(publication: str, kind: str, fault: str, faulty: int) -> set[str]:
    """Return how reading may go."""
    if fault in RIGHT or not faulty:
        return {"right"}
    if PUBLICATIONS[publication][1]:
        return {"raised"}
    # Some of what is wrong, such as the size that a range's answer tells, does not matter to who has no other one.
    is_known = fault not in UNKNOWABLE or kind == "netCDF"  # A file that is open keeps its ETag.
    return {"right", "raised"} if is_known else {"right", "raised", "silent"}
