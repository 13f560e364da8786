"""Opens a zarr store behind a signed URL with xarray, and loads it: by wildcast, or as others do.

    python read_zarr.py METADATA NAME --with wildcast|url|threads|obstore [--concurrency N] [--chunks]

METADATA is a result's metadata as JSON. ``wildcast`` is `Result.open_dataset`, ``url`` the bare signed URL through
`create_cloudfront_mapper`; ``threads`` is a mapper whose requests block, in the six threads that asyncio has on two
cores; ``obstore`` is its HTTPStore, which cannot carry a query and sends the signature as cookies.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import urllib3
import xarray as xr
import zarr
from clock import measured
from fsspec.mapping import FSMap
from fsspec.spec import AbstractFileSystem
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

import wildcast
import wildcast._filesystem
from wildcast import Result
from wildcast._api import Api
from wildcast.contract.wire import ResultMetadata

with suppress(ImportError):
    # What xarray would import when it first opens something.
    import dask.array  # noqa: F401
xr.backends.list_engines()

OK = (200, 206)
MISSING = 404


class BlockingFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Reads whole objects below a signed URL, one request at a time in each thread."""

    protocol = "blocking"
    cachable = False

    def __init__(self, base: str, query: str) -> None:
        super().__init__()
        self._base, self._query = base, query
        self._pool = urllib3.PoolManager(maxsize=64)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return an object."""
        headers = {} if start is None and end is None else {"Range": f"bytes={start or 0}-{(end or 0) - 1}"}
        answer = self._pool.request("GET", f"{self._base}/{path}?{self._query}", headers=headers)
        if answer.status == MISSING:
            raise FileNotFoundError(path)
        if answer.status not in OK:
            raise OSError(answer.status)
        return bytes(answer.data)


def main() -> None:
    """Read once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("name")
    parser.add_argument("--with", dest="way", choices=list(WAYS), required=True)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--chunks", action="store_true", help="in dask's arrays, one task for each chunk")
    arguments = parser.parse_args()
    if arguments.concurrency:
        zarr.config.set({"async.concurrency": arguments.concurrency})
    metadata = msgspec.json.decode(arguments.metadata.read_bytes(), type=ResultMetadata)
    options = {"chunks": {}} if arguments.chunks else {}
    measured(
        lambda: WAYS[arguments.way](metadata, arguments.name, **options).load(),
        lambda data: float(data["x"].sum()),
    )


def with_wildcast(metadata: ResultMetadata, name: str, **options: Any) -> xr.Dataset:
    """As the client's users do."""
    return Result(Api("http://127.0.0.1:1"), "bench", metadata).open_dataset(name, **options)


def with_url(metadata: ResultMetadata, name: str, **options: Any) -> xr.Dataset:
    """As who has nothing but the URL."""
    return xr.open_zarr(
        wildcast.create_cloudfront_mapper(str(metadata.signed_url), name),
        consolidated=True,
        **{"chunks": None, **options},
    )


def with_threads(metadata: ResultMetadata, name: str, **options: Any) -> xr.Dataset:
    """As with a filesystem that blocks."""
    base, _, query = str(metadata.signed_url).partition("/*?")
    mapper = FSMap(name, BlockingFileSystem(base, query))
    return xr.open_zarr(mapper, consolidated=True, **{"chunks": None, **options})


def with_obstore(metadata: ResultMetadata, name: str, **options: Any) -> xr.Dataset:
    """By obstore, with the signature as CloudFront's cookies."""
    url = urlsplit(str(metadata.signed_url))
    cookies = "; ".join(f"CloudFront-{key}={value}" for key, value in parse_qsl(url.query))
    base = f"{url.scheme}://{url.netloc}{url.path.removesuffix('/*')}/{name}"
    store = HTTPStore.from_url(base, client_options={"allow_http": True, "default_headers": {"cookie": cookies}})
    return xr.open_zarr(ObjectStore(store, read_only=True), consolidated=True, **{"chunks": None, **options})


WAYS: dict[str, Callable[..., xr.Dataset]] = {
    "wildcast": with_wildcast,
    "url": with_url,
    "threads": with_threads,
    "obstore": with_obstore,
}


if __name__ == "__main__":
    main()
