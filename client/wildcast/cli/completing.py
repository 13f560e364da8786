"""Completing words in the shell: commands and options by themselves, names and ids by asking the server."""

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from wildcast.cli.invocation import Command, Invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from wildcast._api import Api

SECONDS = 1.5
"""How long a person who has pressed Tab is kept waiting for the server at most."""

NEWEST = 50
"""Executions that are offered."""


def complete_workflows(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the workflows that there are."""
    known = _asked(context, lambda api: api.workflows().items())
    return [
        CompletionItem(name, help=next(iter(description.splitlines()), ""))
        for name, description in known
        if name.startswith(incomplete)
    ]


def complete_executions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the newest executions."""
    return [
        CompletionItem(name, help=f"{workflow}, {status}")
        for name, workflow, status in _asked(context, _newest)
        if name.startswith(incomplete)
    ]


def complete_parameters(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of the parameters of the workflow that was typed before."""
    workflow = context.params.get("workflow")
    if not workflow or "=" in incomplete:
        return []
    names = _asked(context, lambda api: _properties(api, workflow))
    return [CompletionItem(f"{name}=", help=words) for name, words in names if name.startswith(incomplete)]


def _properties(api: "Api", workflow: str) -> list[tuple[str, str]]:
    from wildcast._asking import asked
    from wildcast._calls import schema

    known = api.run(asked(api, schema(workflow))).get("properties", {})
    return [(name, described.get("description", "")) for name, described in known.items()]


def _newest(api: "Api") -> list[tuple[str, str, str]]:
    from wildcast._asking import asked
    from wildcast._calls import Filters, executions

    page = api.run(asked(api, executions(None, Filters(), limit=NEWEST)))
    return [(each.execution_id, each.workflow_name, each.status.value) for each in page.executions]


def _asked(context: click.Context, question: "Callable[[Api], Any]") -> list[Any]:
    """Ask the server in a thread that is left where it is if there is no answer in time: a name may not be found."""
    url = context.ensure_object(Invocation).url
    answers: list[Any] = []

    def ask() -> None:
        from wildcast._api import Api
        from wildcast._retry import Retry

        # Whatever goes wrong, the line that is being typed is no place to say so.
        with suppress(Exception):
            answers.extend(question(Api(url, timeout=SECONDS, retry=Retry(attempts=1))))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return list(answers)


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion_command(invocation: Invocation, shell: str) -> None:
    r"""Print a shell's completion script.

    \b
    bash: eval "$(wildcast completion bash)" in ~/.bashrc
    zsh:  eval "$(wildcast completion zsh)" in ~/.zshrc, after compinit
    fish: wildcast completion fish > ~/.config/fish/completions/wildcast.fish
    """
    from click.shell_completion import get_completion_class

    from wildcast.cli.program import COMPLETE_VARIABLE, PROGRAM, cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"This version of click has no completion for {shell}.")
    script = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source()
    invocation.output.answer({"shell": shell, "script": script}, script)
