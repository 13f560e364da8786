"""Who a worker is, and whether another one may still live beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What names a worker process, the same after a restart in the same place."""

    host: str
    instance: str
    """Of its data directory: two containers may have one host name."""
    site: str
    """Of the disk that it writes outputs to."""
    label: str
    """What it does, such as ``compute`` or ``embedded``."""
    slot: int
    """Which of those of this label; one process has it at a time."""
    is_free: Callable[[str], bool] = field(default=lambda _name: True, repr=False, compare=False)
    """Whether no process is the worker of this label and slot on this machine, such as ``compute-0``."""

    @property
    def id(self) -> str:
        """The name by which records and jobs know it."""
        return f"{self._machine}{self.label}-{self.slot}"

    def is_beside(self, worker_id: str | None) -> bool:
        """Whether a worker of that id belongs to this data directory."""
        return worker_id is not None and worker_id.startswith(self._machine)

    def has_outlived(self, worker_id: str | None) -> bool:
        """Whether no process is that worker any more, as far as this machine can tell: one that hangs still writes."""
        if worker_id is None or not self.is_beside(worker_id):
            return False
        return worker_id == self.id or self.is_free(worker_id.removeprefix(self._machine))

    @property
    def _machine(self) -> str:
        return f"{self.host}-{self.instance}-"
