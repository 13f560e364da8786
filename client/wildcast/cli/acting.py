"""What is done to an execution that is there: cancelling, retrying, keeping and deleting it."""

import sys

import click

from wildcast.cli.completing import complete_executions
from wildcast.cli.exits import ExitCode
from wildcast.cli.invocation import Command, Invocation, refuse

execution_argument = click.argument("execution", metavar="ID", shell_complete=complete_executions)


@click.command("cancel", cls=Command)
@execution_argument
@click.pass_obj
def cancel_command(invocation: Invocation, execution: str) -> None:
    """Cancel an execution.

    At once if it is queued, within seconds if it runs. It is not deleted.
    """
    with invocation.execution(execution) as found:
        answer = found.cancel()
    how = "is cancelled" if answer.status.is_final else f"is {answer.status.value}, and is being cancelled"
    invocation.output.answer(answer, f"{answer.execution_id} {how}.")


@click.command("retry", cls=Command)
@execution_argument
@click.pass_obj
def retry_command(invocation: Invocation, execution: str) -> None:
    """Try a failed execution again.

    It goes on from the step that failed.
    """
    with invocation.execution(execution) as found:
        before = found.last_status or found.status()
        answer = found.retry()
    how = "is tried again" if before.status.is_final else "has not ended: there is nothing to try again"
    invocation.output.answer(answer, f"{answer.execution_id} {how}; it is {answer.status.value}.")


@click.command("pin", cls=Command)
@execution_argument
@click.option("--undo", is_flag=True, help="Let it expire when it would have.")
@click.pass_obj
def pin_command(invocation: Invocation, execution: str, undo: bool) -> None:
    """Keep a result, however old it becomes."""
    with invocation.execution(execution) as found:
        answer = found.pin(pinned=not undo)
    what = "expires when it would have" if undo else "is kept"
    invocation.output.answer(answer, f"The result of {answer.execution_id} {what}.")


@click.command("delete", cls=Command)
@execution_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_command(invocation: Invocation, execution: str, yes: bool) -> None:
    """Delete an execution and its result.

    It has to have ended.
    """
    if not yes and not sys.stdin.isatty():
        refuse("Standard input is no terminal to ask on; give --yes if you are sure.")
    with invocation.execution(execution) as found:
        question = f"Delete {found.id} of {found.workflow}, and its result?"
        if not yes and not click.confirm(question, err=True):
            invocation.output.note("Nothing was deleted.")
            raise click.exceptions.Exit(ExitCode.ERROR)
        found.delete()
    value = {"workflow_name": found.workflow, "execution_id": found.id, "deleted": True}
    invocation.output.answer(value, f"{found.id} is deleted.")
