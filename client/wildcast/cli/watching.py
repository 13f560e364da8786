"""Where executions stand: one, one until its end, and many."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from wildcast.cli.acting import execution_argument
from wildcast.cli.completing import complete_workflows
from wildcast.cli.describing import HEADINGS, aligned, listed_text, status_text
from wildcast.cli.durations import Duration, Moment
from wildcast.cli.invocation import Command, Invocation
from wildcast.cli.pairs import read_pairs
from wildcast.contract.status import ExecutionStatus

if TYPE_CHECKING:
    from wildcast._execution import Execution
    from wildcast.contract.wire import StatusAnswer


@click.command("status", cls=Command)
@execution_argument
@click.pass_obj
def status_command(invocation: Invocation, execution: str) -> None:
    """Show where an execution stands."""
    with invocation.execution(execution) as found:
        answer = found.last_status or found.status()
    invocation.output.answer(answer, status_text(answer))


@click.command("wait", cls=Command)
@execution_argument
@click.option("--timeout", type=Duration(), help="Wait so long at most, such as 90s or 2h.  [default: to the end]")
@click.pass_obj
def wait_command(invocation: Invocation, execution: str, timeout: timedelta | None) -> None:
    """Wait for an execution's end, and show it.

    Ctrl-C, or the timeout, ends the waiting alone: the execution goes on.
    """
    with invocation.execution(execution) as found:
        answer = waited(invocation, found, timeout)
    invocation.output.answer(answer, status_text(answer))


def waited(invocation: Invocation, execution: "Execution", timeout: timedelta | None = None) -> "StatusAnswer":
    """Wait for an execution's end, with a bar; return what it ended as."""
    seconds = None if timeout is None else timeout.total_seconds()
    try:
        execution.wait(seconds, progress=invocation.progress)
    except KeyboardInterrupt:
        invocation.output.note(f"{execution.id} goes on; `wildcast wait {execution.id}` waits for it again.")
        raise
    return execution.last_status or execution.status()


@click.command("list", cls=Command)
@click.option("--workflow", shell_complete=complete_workflows, help="Of this workflow only.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in ExecutionStatus if status is not ExecutionStatus.ACCEPTED]),
    help="Of this status; repeatable.",
)
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="With this label; repeatable.")
@click.option("--since", type=Moment(), help="Submitted since then: 2026-01-28T06:00:00Z, or 2d for two days ago.")
@click.option("--until", type=Moment(), help="Submitted before then.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.pass_obj
def list_command(
    invocation: Invocation,
    workflow: str | None,
    statuses: tuple[str, ...],
    labels: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> None:
    """List executions, the newest first.

    With --json, one a line.
    """
    wanted = read_pairs(labels, "label")
    with invocation.client() as client:
        executions = client.executions(workflow, status=statuses, labels=wanted, since=since, until=until, limit=limit)
        number = 0
        for number, execution in enumerate(executions, start=1):
            answer = execution.last_status or execution.status()
            if number == 1:
                invocation.output.heading(aligned(HEADINGS))
            invocation.output.line(answer, listed_text(answer))
    if not number:
        invocation.output.note("There is none.")
