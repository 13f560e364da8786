"""How settings say that they do not go together, though each alone is fine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conflict:
    """One sentence, and the settings of the section that it is about."""

    sentence: str
    names: tuple[str, ...]


class ConflictError(ValueError):
    """Settings that contradict each other.

    Parameters
    ----------
    conflicts
        Every one that was found.
    """

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__("; ".join(conflict.sentence for conflict in conflicts))
        self.conflicts = tuple(conflicts)
