"""Downloads a result by the client: ``python wildcast_download.py METADATA DESTINATION``; METADATA is JSON."""

import argparse
from pathlib import Path

import msgspec
from clock import measured

from wildcast import Result
from wildcast._api import Api
from wildcast.contract.wire import ResultMetadata


def main() -> None:
    """Download once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    metadata = msgspec.json.decode(arguments.metadata.read_bytes(), type=ResultMetadata)
    result = Result(Api("http://127.0.0.1:1"), "bench", metadata)
    measured(lambda: len(result.download(arguments.destination, progress=False)))


if __name__ == "__main__":
    main()
