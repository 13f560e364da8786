"""How an execution looks: one line for a terminal, a small table for a notebook. Nothing is asked of a server."""

from datetime import datetime
from html import escape
from typing import Any

from wildcast._progress import text_of
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer

_COLOURS = {
    ExecutionStatus.COMPLETED: "#2e7d32",
    ExecutionStatus.FAILED: "#c62828",
    ExecutionStatus.CANCELLED: "#6d4c41",
    ExecutionStatus.EXPIRED: "#6d4c41",
}
_UNFINISHED = "#1565c0"


def as_text(kind: str, workflow: str, execution_id: str, answer: StatusAnswer | None) -> str:
    """Return the line that `repr` shows."""
    status = "" if answer is None else f", status={answer.status.value!r}"
    return f"{kind}({workflow!r}, {execution_id!r}{status})"


def as_html(workflow: str, execution_id: str, answer: StatusAnswer | None) -> str:
    """Return the table that a notebook shows; whatever a server or a workflow wrote is escaped."""
    title = f"<b>{escape(workflow)}</b> <code>{escape(execution_id)}</code>"
    if answer is None:
        return f"<div>{title} <i>not asked for its status yet</i></div>"
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{cell}</td></tr>"
        for name, cell in _cells(answer)
    )
    return f"<div>{title}<table>{rows}</table></div>"


def _cells(answer: StatusAnswer) -> list[tuple[str, str]]:
    metadata = answer.metadata or {}
    cells = [
        ("status", _status(answer)),
        ("progress", _progress(answer)),
        ("submitted", _time(metadata.get("created_at"))),
        ("started", _time(answer.start_time)),
        ("ended", _time(answer.end_time)),
        ("took", "" if answer.execution_time_seconds is None else f"{answer.execution_time_seconds:.1f} s"),
        ("error", escape(answer.error_message or "")),
        ("labels", _labels(metadata.get("labels"))),
    ]
    return [(name, cell) for name, cell in cells if cell]


def _status(answer: StatusAnswer) -> str:
    colour = _COLOURS.get(answer.status, _UNFINISHED)
    return f"<span style='color:{colour}'>{escape(text_of(answer))}</span>"


def _progress(answer: StatusAnswer) -> str:
    progress = answer.progress or {}
    current, total = progress.get("current_step"), progress.get("total_steps")
    bars = [_bar(current, total, "steps")]
    if (publishing := answer.publishing) is not None:
        bars.append(_bar(publishing.bytes_done, publishing.bytes_total, "bytes"))
    return "<br>".join(bar for bar in bars if bar)


def _bar(done: Any, total: Any, unit: str) -> str:
    if not (isinstance(done, int) and isinstance(total, int) and total > 0):
        return ""
    return f"<progress value='{done}' max='{total}'></progress> {done:,} of {total:,} {unit}"


def _time(moment: Any) -> str:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return ""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" if isinstance(moment, datetime) else ""


def _labels(labels: Any) -> str:
    if not isinstance(labels, dict):
        return ""
    return ", ".join(f"{escape(str(name))}={escape(str(value))}" for name, value in labels.items())
