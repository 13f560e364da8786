"""multi-storage-client with its Rust client, in process.

    MSC_CONFIG=FILE python msc_upload.py DIRECTORY ENDPOINT --at THREADS

The file has a profile `bench`, which names the endpoint and the bucket.
"""

import argparse
from pathlib import Path

from clock import measured
from multistorageclient import StorageClient, StorageClientConfig


def main() -> None:
    """Send once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--at", type=int, required=True)
    arguments = parser.parse_args()
    measured(lambda: send(arguments.directory, arguments.at))


def send(directory: Path, threads: int) -> None:
    """Open the client and send every file."""
    client = StorageClient(StorageClientConfig.from_file(profile="bench"))
    files = sorted(directory.iterdir())
    client.upload_files([f"run/{file.name}" for file in files], [str(file) for file in files], max_workers=threads)


if __name__ == "__main__":
    main()
