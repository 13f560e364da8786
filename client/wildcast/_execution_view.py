"""How an execution looks: in one line, as rows for a terminal, as a small table for a notebook. No server is asked."""

from html import escape
from typing import Any

from wildcast._text import labels_text, moment_text, one_line, size_text
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer

_COLOURS = {
    ExecutionStatus.COMPLETED: "#2e7d32",
    ExecutionStatus.FAILED: "#c62828",
    ExecutionStatus.CANCELLED: "#6d4c41",
    ExecutionStatus.EXPIRED: "#6d4c41",
}
_UNFINISHED = "#1565c0"

_REMOVED = frozenset({ExecutionStatus.CANCELLED, ExecutionStatus.EXPIRED})
"""What these have published is there no more."""

_STANDARD = ("progress", "current_step", "total_steps")


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
    """Return the rows of the table; what can be seen is drawn as well."""
    progress, publishing = answer.progress or {}, answer.publishing
    drawn = {"progress": _bar(progress.get("current_step"), progress.get("total_steps"))}
    if publishing is not None:
        drawn["published"] = _bar(publishing.bytes_done, publishing.bytes_total)
    return [(name, f"{drawn.get(name, '')}{_coloured(name, text, answer)}") for name, text in described(answer)]


def _coloured(name: str, text: str, answer: StatusAnswer) -> str:
    if name != "status":
        return escape(text)
    return f"<span style='color:{_COLOURS.get(answer.status, _UNFINISHED)}'>{escape(text)}</span>"


def _bar(done: Any, total: Any) -> str:
    return f"<progress value='{done}' max='{total}'></progress> " if _can_be_drawn(done, total) else ""


def _can_be_drawn(done: Any, total: Any) -> bool:
    return isinstance(done, int) and isinstance(total, int) and total > 0


def standing_text(answer: StatusAnswer) -> str:
    """Return where an execution stands in one line: its status, what is before it, and what its workflow says."""
    queued = "" if answer.position is None else f"{answer.position} before it"
    own = ", ".join(
        one_line(f"{value}" if name == "message" else f"{name}={value}")
        for name, value in (answer.progress or {}).items()
        if name not in _STANDARD and isinstance(value, str | int | float)
    )
    return ", ".join(part for part in (answer.status.value, queued, own, _published_meanwhile(answer)) if part)


def _published_meanwhile(answer: StatusAnswer) -> str:
    publishing = answer.publishing
    if publishing is None or answer.status is not ExecutionStatus.RUNNING:
        return ""
    return f"{size_text(publishing.bytes_done)} published"


def described(answer: StatusAnswer) -> list[tuple[str, str]]:
    """Return what is known about an execution, each with its name."""
    metadata = answer.metadata or {}
    took = answer.execution_time_seconds
    rows = [
        ("status", standing_text(answer)),
        ("progress", _steps(answer)),
        ("published", _published(answer)),
        ("submitted", moment_text(metadata.get("created_at"))),
        ("started", moment_text(answer.start_time)),
        ("ended", moment_text(answer.end_time)),
        ("took", "" if took is None else f"{took:.1f} s"),
        ("error", answer.error_message or ""),
        ("labels", labels_text(metadata.get("labels"))),
    ]
    return [row for row in rows if row[1]]


def _steps(answer: StatusAnswer) -> str:
    progress = answer.progress or {}
    current, total = progress.get("current_step"), progress.get("total_steps")
    return f"{current:,} of {total:,} steps" if _can_be_drawn(current, total) else ""


def _published(answer: StatusAnswer) -> str:
    upload = answer.publishing
    if upload is None or answer.status in _REMOVED:
        return ""
    files = f"{upload.files_done:,} of {upload.files_total:,} files"
    return f"{files}, {size_text(upload.bytes_done)} of {size_text(upload.bytes_total)}"
