"""boto3's TransferManager (s3transfer) with 16 threads, in process.

python boto3_manager.py DIRECTORY ENDPOINT --at THREADS
"""

import argparse
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from clock import BUCKET, measured


def main() -> None:
    """Send once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--at", type=int, required=True)
    arguments = parser.parse_args()
    # What it imports and loads at the first use counts among its imports.
    boto3.client("s3", endpoint_url=arguments.endpoint)
    measured(lambda: send(arguments.directory, arguments.endpoint, arguments.at))


def send(directory: Path, endpoint: str, threads: int) -> None:
    """Open the client and send every file."""
    config = Config(max_pool_connections=threads, s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=endpoint, config=config)
    transfer = TransferConfig(max_concurrency=threads, preferred_transfer_client="classic")
    with create_transfer_manager(client, transfer) as manager:
        futures = [manager.upload(str(file), BUCKET, f"run/{file.name}") for file in sorted(directory.iterdir())]
        for future in futures:
            future.result()


if __name__ == "__main__":
    main()
