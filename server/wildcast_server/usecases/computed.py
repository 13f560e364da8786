"""Knowing, after a restart, that a computation had come to its end: then it is published, and not repeated."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wildcast_server.domain.execution import Execution

_log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Computed(msgspec.Struct, frozen=True):
    """What is noted of a computation that has ended."""

    attempt: int
    boot: str
    """Which start of the machine it ended in: a crash of the machine may leave less of a file than was written."""
    resumed: int = 0
    """How often the service has begun again to publish it."""


@dataclass(frozen=True)
class Marks:
    """A small file beside each output directory that is complete and not yet published.

    Parameters
    ----------
    root
        Where the output directories are.
    """

    root: Path

    def set(self, execution: Execution) -> None:
        """Note that the computation of this attempt has ended; without the note, a restart would repeat it."""
        self._write(execution, Computed(execution.attempt, _boot()))

    def remove(self, execution_id: str) -> None:
        """Forget it. Idempotent."""
        with suppress(OSError):
            self._path(execution_id).unlink()

    def holds(self, execution: Execution) -> bool:
        """Whether the output directory is what this attempt's computation left."""
        return self._read(execution) is not None and (self.root / execution.id).is_dir()

    def count(self, execution: Execution) -> int:
        """Note that publishing begins again; return how often it has."""
        computed = self._read(execution)
        if computed is None:
            return 0
        self._write(execution, msgspec.structs.replace(computed, resumed=computed.resumed + 1))
        return computed.resumed + 1

    def __iter__(self) -> Iterator[str]:
        """Yield the executions that have a mark."""
        for path in self.root.glob(".*.computed"):
            yield path.name[1 : -len(".computed")]

    def _path(self, execution_id: str) -> Path:
        return self.root / f".{execution_id}.computed"

    def _read(self, execution: Execution) -> Computed | None:
        try:
            computed = msgspec.json.decode(self._path(execution.id).read_bytes(), type=Computed)
        except (OSError, msgspec.DecodeError):
            return None
        # Where the system does not tell (it is no Linux), the machine may have crashed in between.
        if not computed.boot or (computed.attempt, computed.boot) != (execution.attempt, _boot()):
            return None
        return computed

    def _write(self, execution: Execution, computed: Computed) -> None:
        try:
            self._path(execution.id).write_bytes(msgspec.json.encode(computed))
        except OSError as error:
            _log.warning("%s: a restart before it is published would compute it again: %s", execution.id, error)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
