"""`publish_directory`, in process: to a publication that is verified and committed, with default settings.

    python wildcast_publish.py DIRECTORY ENDPOINT [--set section.name=value …] [--limits]

Opening the store is inside the clock.
"""

import argparse
import logging
import time
from pathlib import Path

# What is imported at its first use is an import all the same.
import awscrt.auth  # noqa: F401
import urllib3  # noqa: F401
from clock import BUCKET, measured

from wildcast_server.cli.commands import parse_assignment
from wildcast_server.settings import Settings, load_settings
from wildcast_server.usecases.publish_directory import publish_directory
from wildcast_server.wiring.publishing import build_publisher, build_store


def main() -> None:
    """Publish once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--set", action="append", default=[], dest="values")
    parser.add_argument("--limits", action="store_true", help="watch how many requests may be in flight")
    arguments = parser.parse_args()
    settings = load_settings(
        {
            "object_storage.enabled": True,
            "object_storage.bucket": BUCKET,
            "object_storage.endpoint_url": arguments.endpoint,
            **parse_assignment(None, None, tuple(arguments.values)),  # type: ignore[arg-type]
        }
    ).settings
    measured(lambda: publish(settings, arguments.directory, limits=arguments.limits))


def publish(settings: Settings, directory: Path, *, limits: bool) -> list[tuple[float, int]]:
    """Publish; return how many requests were allowed and when, if that is asked for."""
    changes = Changes()
    if limits:
        logger = logging.getLogger("wildcast_server.transfer.auto")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(changes)
    publisher = build_publisher(settings, build_store(settings))
    publish_directory(publisher, None, directory, "run", owner="benchmark")
    return changes.until_now()


class Changes(logging.Handler):
    """Takes in each change of the number of requests in flight, as the debug log tells it: before, after, why."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.perf_counter()
        self._rows: list[tuple[float, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one in."""
        if isinstance(record.args, tuple):
            before, after, *_ = record.args
            self._rows = self._rows or [(0.0, int(str(before)))]
            self._rows.append((time.perf_counter() - self._began, int(str(after))))

    def until_now(self) -> list[tuple[float, int]]:
        """Return pairs of seconds and requests; the last one holds now."""
        if self._rows:
            self._rows.append((time.perf_counter() - self._began, self._rows[-1][1]))
        return self._rows


if __name__ == "__main__":
    main()
