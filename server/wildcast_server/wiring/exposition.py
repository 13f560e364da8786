"""What workers have counted, in a file of each, for the API on the same machine to show.

The files have Prometheus' text format; a machine without an API can have them read by another exporter of such files.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wildcast_server.metrics import Metrics
from wildcast_server.settings import Settings

SUFFIX = ".prom"

WRITE_SECONDS = 5.0
"""How often a worker writes its file."""

FRESH_SECONDS = 60.0
"""How old a file may be; an older one is of a worker that is gone."""

FORGET_SECONDS = 86_400.0
"""After so long a worker is not expected back under its name, as one in a container that was replaced."""


@dataclass(frozen=True)
class Exposed:
    """The files of the workers that share a data directory."""

    directory: Path

    @classmethod
    def of(cls, settings: Settings) -> "Exposed":
        """Return those of these settings."""
        return cls(settings.data_dir / "workers")

    def write(self, worker: str, metrics: Metrics) -> None:
        """Write a worker's file; who reads it meanwhile reads the one before. What is very old goes."""
        path = self.directory / f"{worker}{SUFFIX}"
        partial = path.with_suffix(".partial")
        partial.write_bytes(metrics.text())
        partial.replace(path)
        for other in self.directory.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                if time.time() - other.lstat().st_mtime > FORGET_SECONDS:
                    other.unlink()

    def read(self) -> dict[str, str]:
        """Return what each worker that lives has written."""
        found = {}
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            try:
                if time.time() - path.stat().st_mtime < FRESH_SECONDS:
                    found[path.stem] = path.read_text()
            except OSError:
                # It has gone since it was listed.
                continue
        return found
