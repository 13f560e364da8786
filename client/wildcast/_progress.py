"""A progress bar for people who wait."""

import sys
from types import TracebackType
from typing import Any, Literal, Self

from wildcast.contract.wire import StatusAnswer

Progress = bool | Literal["auto"]
"""Whether to draw a bar; ``auto``: where a person can see it, on a terminal."""

_STANDARD = ("progress", "current_step", "total_steps")


class ProgressBar:
    """Draws an execution's status on standard error, or nothing.

    Parameters
    ----------
    label
        What is waited for.
    progress
        Whether to draw.
    """

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._wanted = sys.stderr.isatty() if progress == "auto" else progress
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._wanted:
            from tqdm.auto import tqdm

            self._bar = tqdm(desc=self._label, leave=True, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, answer: StatusAnswer) -> None:
        """Draw what the server says now."""
        if self._bar is None:
            return
        progress = answer.progress or {}
        current, total = progress.get("current_step"), progress.get("total_steps")
        self._bar.total = total if isinstance(total, int) else None
        self._bar.n = current if isinstance(current, int) else 0
        self._bar.set_postfix_str(_text(answer, progress), refresh=False)
        self._bar.refresh()


def _text(answer: StatusAnswer, progress: dict[str, Any]) -> str:
    queued = "" if answer.position is None else f"{answer.position} before it"
    own = ", ".join(
        f"{value}" if name == "message" else f"{name}={value}"
        for name, value in progress.items()
        if name not in _STANDARD and isinstance(value, str | int | float)
    )
    return ", ".join(part for part in (answer.status.value, queued, own) if part)
