"""How executions look on a terminal."""

from typing import TYPE_CHECKING

from wildcast._text import labels_text, moment_text
from wildcast.cli.output import table

if TYPE_CHECKING:
    from wildcast.contract.wire import StatusAnswer

HEADINGS = ("ID", "STATUS", "SUBMITTED", "WORKFLOW", "LABELS")
_WIDTHS = (24, 15, 20, 0, 0)


def status_text(answer: "StatusAnswer") -> str:
    """Return where an execution stands, as a table of two columns; what is not known is left out."""
    from wildcast._execution_view import described

    return table([("execution", answer.execution_id), ("workflow", answer.workflow_name), *described(answer)])


def listed_text(answer: "StatusAnswer") -> str:
    """Return an execution as one line of a list."""
    metadata = answer.metadata or {}
    return aligned(
        (
            answer.execution_id,
            answer.status.value,
            moment_text(metadata.get("created_at")),
            answer.workflow_name,
            labels_text(metadata.get("labels")),
        )
    )


def aligned(cells: tuple[str, ...]) -> str:
    """Lay the cells of one line of a list out; the widths are fixed, so that lines can be printed as they come."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
