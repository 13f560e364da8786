"""Bare loops over obstore: what moving the bytes itself costs. No scan, no manifest, no verification.

    python obstore_loop.py DIRECTORY ENDPOINT --at N [--threads | --parts SIZE] [--unsigned]

By default `obstore.put_async` on the paths, N at a time. With `--threads`, N threads that read, checksum and put the
bytes. With `--parts`, one thread a file that gives parts of SIZE bytes, N of which travel at a time.
"""

import argparse
import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from awscrt.checksums import crc64nvme
from clock import BUCKET, measured
from obstore.store import S3Store


def main() -> None:
    """Send once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--at", type=int, required=True)
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--parts", type=int)
    parser.add_argument("--unsigned", action="store_true", help="do not sign the bytes (SHA-256)")
    arguments = parser.parse_args()
    measured(lambda: send(arguments))


def send(arguments: argparse.Namespace) -> None:
    """Open the store and send every file."""
    store = S3Store(
        BUCKET,
        config={"endpoint": arguments.endpoint, "region": "us-east-1", "unsigned_payload": arguments.unsigned},
        client_options={"allow_http": True},
    )
    files = sorted(arguments.directory.iterdir())
    if arguments.parts:
        send_parts(store, files, arguments.parts, arguments.at)
    elif arguments.threads:
        send_bytes(store, files, arguments.at)
    else:
        asyncio.run(send_paths(store, files, arguments.at))


async def send_paths(store: S3Store, files: list[Path], at: int) -> None:
    """Hand the paths to the driver."""
    room = asyncio.Semaphore(at)

    async def one(file: Path) -> None:
        async with room:
            await obstore.put_async(store, f"run/{file.name}", file)

    await asyncio.gather(*map(one, files))


def send_bytes(store: S3Store, files: list[Path], at: int) -> None:
    """Read, checksum and put in threads."""

    def one(file: Path) -> None:
        data = file.read_bytes()
        crc64nvme(data)
        obstore.put(store, f"run/{file.name}", data, use_multipart=False)

    with ThreadPoolExecutor(at) as pool:
        list(pool.map(one, files))


def send_parts(store: S3Store, files: list[Path], size: int, at: int) -> None:
    """Read and checksum part by part."""

    def parts(file: Path) -> Iterator[bytes]:
        crc = 0
        with file.open("rb", buffering=0) as opened:
            while part := opened.read(size):
                crc = crc64nvme(part, crc)
                yield part

    def one(file: Path) -> None:
        obstore.put(store, f"run/{file.name}", parts(file), chunk_size=size, max_concurrency=at)

    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(one, files))


if __name__ == "__main__":
    main()
