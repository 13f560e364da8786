"""A progress bar for people who wait."""

import sys
import warnings
from types import TracebackType
from typing import Any, Literal, Self

from wildcast._execution_view import standing_text
from wildcast._text import size_text
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer, TransferStatus

Progress = bool | Literal["auto"]
"""Whether to draw a bar; ``auto``: where a person can see it, on a terminal or in a notebook."""

# Without tqdm's own rate, which counts from when the bar was drawn, and takes the room of what a workflow says.
_WITH_TOTAL = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_WITHOUT_TOTAL = "{desc}: [{elapsed}{postfix}]"


class ProgressBar:
    """Draws an execution's status on standard error, or nothing.

    First the workflow's own steps; once they are done and the server tells how far publishing has come, a second bar
    below counts its bytes.

    Parameters
    ----------
    label
        What is waited for.
    progress
        Whether to draw.
    """

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._wanted = is_watched() if progress == "auto" else progress
        self._steps: Any = None
        self._bytes: Any = None

    def __enter__(self) -> Self:
        if self._wanted:
            self._steps = _tqdm()(desc=self._label, leave=True, dynamic_ncols=True, bar_format=_WITHOUT_TOTAL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for bar in (self._bytes, self._steps):
            if bar is not None:
                bar.close()

    def show(self, answer: StatusAnswer) -> None:
        """Draw what the server says now."""
        if self._steps is None:
            return
        self._show_steps(answer)
        publishing = answer.publishing
        if publishing is not None and answer.status is ExecutionStatus.PENDING_RESULTS:
            self._show_bytes(publishing)
        elif self._bytes is not None and answer.status is ExecutionStatus.COMPLETED:
            self._fill_bytes()

    def _show_steps(self, answer: StatusAnswer) -> None:
        bar = self._steps
        progress = answer.progress or {}
        current, total = progress.get("current_step"), progress.get("total_steps")
        _set_total(bar, total if isinstance(total, int) else None)
        bar.bar_format = _WITH_TOTAL if bar.total else _WITHOUT_TOTAL
        bar.n = current if isinstance(current, int) else 0
        bar.set_postfix_str(_fitting(bar, standing_text(answer)), refresh=False)
        bar.refresh()

    def _show_bytes(self, publishing: TransferStatus) -> None:
        if self._bytes is None:
            self._bytes = self._open_bytes()
        bar = self._bytes
        _set_total(bar, publishing.bytes_total)
        bar.n = publishing.bytes_done
        bar.set_postfix_str(_fitting(bar, _rate(publishing)), refresh=False)
        bar.refresh()

    def _fill_bytes(self) -> None:
        # The last look at a publication is seldom at its very end.
        self._bytes.n = self._bytes.total
        self._bytes.set_postfix_str("", refresh=False)
        self._bytes.refresh()

    def _open_bytes(self) -> Any:
        # The server's own rate: what tqdm would reckon began before this bar did, where files went up meanwhile.
        form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit}{postfix}"
        options = {"unit": "B", "unit_scale": True, "bar_format": form, "leave": True, "dynamic_ncols": True}
        return _tqdm()(desc=f"{self._label}, publishing", total=0, **options)


class DownloadBar:
    """Counts bytes on standard error, or nowhere.

    Parameters
    ----------
    label
        What is downloaded.
    progress
        Whether to draw.
    """

    def __init__(self, label: str, progress: Progress) -> None:
        self._label, self._wanted = label, is_watched() if progress == "auto" else progress
        self._bar: Any = None

    def begin(self, total: int) -> None:
        """Draw a bar for that many bytes."""
        if self._wanted:
            self._bar = _tqdm()(desc=self._label, total=total, unit="B", unit_scale=True, dynamic_ncols=True)

    def add(self, count: int) -> None:
        """Count bytes; fewer than none where they arrived in vain."""
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _rate(publishing: TransferStatus) -> str:
    rate, left = publishing.bytes_per_second, publishing.seconds_left
    parts = [f"{publishing.files_done:,} of {publishing.files_total:,} files"]
    if rate is not None:
        parts.append(f"{size_text(rate)}/s")
    if left is not None and publishing.bytes_done < publishing.bytes_total:
        parts.append(f"{_tqdm().format_interval(left)} left")
    return ", ".join(parts)


def _fitting(bar: Any, text: str) -> str:
    """Shorten what stands behind a bar to what the terminal has room for: what is longer would be cut, or wrapped."""
    from tqdm.utils import disp_len, disp_trim

    now = bar.format_dict
    if not now["ncols"] or not sys.stderr.isatty():
        return text
    shortest = now["bar_format"].replace("{bar}", "{bar:4}")
    others = bar.format_meter(**{**now, "bar_format": shortest, "postfix": None, "ncols": None})
    room = now["ncols"] - disp_len(others) - len(", ") - 1
    # Three dots, because not every terminal has the one character.
    return text if disp_len(text) <= room else f"{disp_trim(text, max(0, room - 3))}..."


def _set_total(bar: Any, total: int | None) -> None:
    if total is None or total == bar.total:
        bar.total = total
        return
    began = bar.start_t
    # A notebook's widget learns of a total in no other way; the time that has passed has passed.
    bar.reset(total)
    bar.start_t = began


def is_watched() -> bool:
    """Whether a person may be looking: at a terminal, or at a notebook."""
    return sys.stderr.isatty() or _is_notebook()


def _is_notebook() -> bool:
    # Whoever runs in a notebook has imported IPython; nobody else need.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _tqdm() -> Any:
    """Return the bar that fits: a widget where ipywidgets are there, else text."""
    with warnings.catch_warnings():
        # In a notebook without ipywidgets it asks for them; its text will do.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
