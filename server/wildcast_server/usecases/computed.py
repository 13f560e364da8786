"""Knowing, after a death, how far a computation had come: not begun, begun, or ended, so that it is only published."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution
from wildcast_server.jobs import was_called
from wildcast_server.usecases.disk import may_be_shared, write_out

_log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Computed(msgspec.Struct, frozen=True):
    """What is noted of a computation that has ended."""

    attempt: int
    boot: str | None
    """Which start of the machine it ended in, as its crash may leave less of a file than was written.

    None where all of it is on the disk itself, so that no crash matters.
    """
    provenance: Provenance | None = None
    """What ran."""


@dataclass(frozen=True)
class Marks:
    """Small files beside the output directories, each named after its directory.

    ``.<name>.computed`` says that a directory is complete and not yet published, ``.<name>.<attempt>.begun`` that the
    workflow was called, and ``.<name>.<attempt>.taken`` how often a worker was about to call it.

    Parameters
    ----------
    root
        Where the output directories are.
    """

    root: Path

    def set(self, execution: Execution, ran: Provenance | None = None) -> None:
        """Note that the computation of this attempt has ended; without the note, a death here would repeat it.

        Of a file system that several machines may have, everything is written to the disk first, so that the note
        holds on each of them. On one of this machine alone that could take many seconds, for what is mostly removed
        within one: there the note holds until the machine starts anew, or `keep` was called.
        """
        try:
            # On the disk itself: after a crash of the machine it has to say that there was one.
            self._write(execution.name, Computed(execution.attempt, self._boot_or_none(), ran))
        except OSError as error:
            _log.warning("%s: a death before it is handed over would compute it again: %s", execution.id, error)

    def keep(self, names: Iterable[str] | None = None) -> None:
        """Write what was computed to the disk itself, so that it is there after whatever start of the machine.

        Parameters
        ----------
        names
            Of directories; None for all that are complete.
        """
        noted = {name: self._read(name) for name in (self if names is None else names)}
        ours = {name: computed for name, computed in noted.items() if computed and computed.boot == _boot()}
        if not ours:
            return
        try:
            write_out(self.root)
            for name, computed in ours.items():
                # What was published and removed meanwhile is not noted anew.
                if self._read(name) == computed:
                    self._write(name, msgspec.structs.replace(computed, boot=None))
        except OSError as error:
            _log.warning("a crash of the machine would lose what was computed and is not published: %s", error)

    def remove(self, name: str) -> None:
        """Forget everything about the directory `name`. Idempotent."""
        for path in (
            self._path(name),
            self._partial(name),
            *self.root.glob(f".{name}.*.begun"),
            *self.root.glob(f".{name}.*.taken"),
        ):
            with suppress(OSError):
                path.unlink()

    def find(self, execution: Execution) -> Computed | None:
        """Return what is noted if the output directory is what this attempt's computation left, else None."""
        computed = self._read(execution.name)
        if computed is None or computed.attempt != execution.attempt:
            return None
        # Where the system does not tell (it is no Linux), the machine may have crashed in between.
        if computed.boot == "" or computed.boot not in (None, _boot()):
            return None
        return computed if (self.root / execution.name).is_dir() else None

    def is_lost(self, execution: Execution) -> bool:
        """Whether what was computed is not there any more, or may not be whole."""
        computed = self._read(execution.name)
        # A mark may be missing because the disk was full; one of another start of the machine tells of a crash.
        crashed = computed is not None and computed.boot not in (None, _boot())
        return crashed or not (self.root / execution.name).is_dir()

    def begun(self, execution: Execution) -> Path:
        """Return the file that says whether the workflow of this attempt was called."""
        return self.root / f".{execution.name}.{execution.attempt}.begun"

    def is_begun(self, execution: Execution) -> bool:
        """Whether the workflow of this attempt was called, or may have been."""
        return was_called(self.begun(execution))

    def take(self, execution: Execution) -> int:
        """Note that the workflow of this attempt is about to be called; return how often it was, with this time."""
        times = self.taken(execution) + 1
        with suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            self._taken(execution).write_text(str(times))
        return times

    def taken(self, execution: Execution) -> int:
        """Return how often it was about to be called."""
        try:
            return int(self._taken(execution).read_text())
        except (OSError, ValueError):
            return 0

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the directories that are complete."""
        for path in self.root.glob(".*.computed"):
            yield path.name[1 : -len(".computed")]

    def _path(self, name: str) -> Path:
        return self.root / f".{name}.computed"

    def _partial(self, name: str) -> Path:
        return self.root / f".{name}.computed.partial"

    def _taken(self, execution: Execution) -> Path:
        return self.root / f".{execution.name}.{execution.attempt}.taken"

    def _read(self, name: str) -> Computed | None:
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=Computed)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, name: str, computed: Computed) -> None:
        partial = self._partial(name)
        with partial.open("wb") as file:
            file.write(msgspec.json.encode(computed))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path(name))
        directory = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _boot_or_none(self) -> str | None:
        """Return None if all is on the disk itself now, as it has to be where other machines look."""
        if not may_be_shared(self.root):
            return _boot()
        try:
            write_out(self.root)
        except OSError as error:
            _log.warning("another machine would not publish what was computed here, but compute it again: %s", error)
            return _boot()
        return None


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
