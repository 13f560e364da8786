"""Which workflows there are, and submitting to them."""

import json
from typing import IO, TYPE_CHECKING, Any

import click

from wildcast.cli.completing import complete_parameters, complete_workflows
from wildcast.cli.durations import Duration
from wildcast.cli.invocation import Command, Invocation, refuse, usage
from wildcast.cli.output import table
from wildcast.cli.pairs import read_pairs
from wildcast.cli.values import read_parameters
from wildcast.cli.watching import waited

if TYPE_CHECKING:
    from wildcast._execution import Execution


@click.command("workflows", cls=Command)
@click.argument("workflow", required=False, shell_complete=complete_workflows)
@click.pass_obj
def workflows_command(invocation: Invocation, workflow: str | None) -> None:
    """List workflows, or show what one takes.

    With --json, the second is the JSON schema of its parameters.
    """
    from wildcast.cli.schemas import schema_text

    with invocation.client() as client:
        if workflow is not None:
            schema = client.schema(workflow)
            description = "" if invocation.output.as_json else client.workflows().get(workflow, "")
            invocation.output.answer(schema, schema_text(workflow, description, schema))
            return
        known = client.workflows()
    rows = [(name, next(iter(description.splitlines()), "")) for name, description in known.items()]
    invocation.output.answer(known, table(rows))


@click.command("submit", cls=Command)
@click.argument("workflow", shell_complete=complete_workflows)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_parameters)
@click.option(
    "--json-parameters",
    type=click.File("rb"),
    metavar="FILE",
    help="A JSON object of parameters, or - for standard input; NAME=VALUE comes before what is in it.",
)
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="To find it by; repeatable.")
@click.option("--idempotency-key", metavar="KEY", help="Submitting twice with the same key is one execution.")
@click.option("--retention", type=Duration(), help="How long the result is kept, such as 7d.  [default: the server's]")
@click.option("--webhook", metavar="URL", help="What is told how it ended.")
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@click.pass_obj
def submit_command(
    invocation: Invocation,
    /,
    workflow: str,
    parameters: tuple[str, ...],
    json_parameters: IO[bytes] | None,
    labels: tuple[str, ...],
    wait: bool,
    **extras: Any,
) -> None:
    """Submit a request; print its execution's ID.

    `wildcast workflows WORKFLOW` says which parameters there are. Numbers, booleans and times are read as such; lists
    have commas between their items, or are JSON, as what begins with a bracket is.
    """
    given = _read_file(json_parameters)
    extras["labels"] = read_pairs(labels, "label") or None
    with invocation.client() as client:
        if parameters:
            given |= read_parameters(parameters, client.schema(workflow))
        with usage():
            execution = client.submit(workflow, given, **extras)
        _tell(invocation, execution, wait=wait)


def _tell(invocation: Invocation, execution: "Execution", *, wait: bool) -> None:
    output = invocation.output
    output.execution_id = execution.id
    known = {"workflow_name": execution.workflow, "execution_id": execution.id}
    if not wait:
        output.answer(known, execution.id)
        output.note(f"submitted; `wildcast wait {execution.id}` waits for its end.")
        return
    if not output.as_json:
        # At once: whoever stops waiting has to know it.
        output.answer(known, execution.id)
    answer = waited(invocation, execution)
    if output.as_json:
        output.answer(answer, "")
    output.note(f"{execution.id} is {answer.status.value}.")


def _read_file(file: IO[bytes] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        value = json.load(file)
    except ValueError:
        refuse("--json-parameters: this is no JSON.")
    if not isinstance(value, dict):
        refuse("--json-parameters: this is no JSON object, which has a value for each parameter's name.")
    return value
