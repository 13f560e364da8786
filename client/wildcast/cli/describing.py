"""How executions look on a terminal."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from wildcast.cli.output import size_text, table

if TYPE_CHECKING:
    from wildcast.contract.wire import StatusAnswer

HEADINGS = ("ID", "STATUS", "SUBMITTED", "WORKFLOW", "LABELS")
_WIDTHS = (24, 15, 20, 0, 0)


def status_text(answer: "StatusAnswer") -> str:
    """Return where an execution stands, as a table of two columns; what is not known is left out."""
    from wildcast._progress import text_of

    metadata = answer.metadata or {}
    took = answer.execution_time_seconds
    rows = [
        ("execution", answer.execution_id),
        ("workflow", answer.workflow_name),
        ("status", text_of(answer)),
        ("progress", _steps(answer)),
        ("published", _published(answer)),
        ("submitted", moment_text(metadata.get("created_at"))),
        ("started", moment_text(answer.start_time)),
        ("ended", moment_text(answer.end_time)),
        ("took", "" if took is None else f"{took:.1f} s"),
        ("error", answer.error_message or ""),
        ("labels", _labels(metadata.get("labels"))),
    ]
    return table([row for row in rows if row[1]])


def listed_text(answer: "StatusAnswer") -> str:
    """Return an execution as one line of a list."""
    metadata = answer.metadata or {}
    return aligned(
        (
            answer.execution_id,
            answer.status.value,
            moment_text(metadata.get("created_at")),
            answer.workflow_name,
            _labels(metadata.get("labels")),
        )
    )


def aligned(cells: tuple[str, ...]) -> str:
    """Lay the cells of one line of a list out; the widths are fixed, so that lines can be printed as they come."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def moment_text(moment: Any) -> str:
    """Return a moment in UTC, to the second; nothing for what is none."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return ""
    return f"{moment:%Y-%m-%d %H:%M:%SZ}" if isinstance(moment, datetime) else ""


def _steps(answer: "StatusAnswer") -> str:
    progress = answer.progress or {}
    current, total = progress.get("current_step"), progress.get("total_steps")
    return f"{current} of {total} steps" if isinstance(current, int) and isinstance(total, int) else ""


def _published(answer: "StatusAnswer") -> str:
    upload = answer.publishing
    if upload is None:
        return ""
    files = f"{upload.files_done} of {upload.files_total} files"
    return f"{files}, {size_text(upload.bytes_done)} of {size_text(upload.bytes_total)}"


def _labels(labels: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items()) if isinstance(labels, dict) else ""
