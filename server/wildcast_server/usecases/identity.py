"""Who a worker is, and whether another one may still live beside it."""

from dataclasses import dataclass


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

    @property
    def id(self) -> str:
        """The name by which records and jobs know it."""
        return f"{self._machine}{self.label}-{self.slot}"

    def is_beside(self, worker_id: str | None) -> bool:
        """Whether a worker of that id belongs to this data directory: then its locks tell whether it lives."""
        return worker_id is not None and worker_id.startswith(self._machine)

    @property
    def _machine(self) -> str:
        return f"{self.host}-{self.instance}-"
