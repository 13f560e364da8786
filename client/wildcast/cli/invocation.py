"""What every command knows: which server, how to print, and the options that say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import click

from wildcast.cli.output import Output

if TYPE_CHECKING:
    from wildcast._client import Client
    from wildcast._execution import Execution
    from wildcast._progress import Progress
    from wildcast._result import Result


@dataclass
class Invocation:
    """One call of the program."""

    url: str | None = None
    output: Output = field(default_factory=Output)

    @contextmanager
    def client(self) -> "Iterator[Client]":
        """Open a client of the server that is meant."""
        from wildcast._client import Client

        with usage():
            client = Client(self.url)
        with client:
            yield client

    @contextmanager
    def execution(self, name: str) -> "Iterator[Execution]":
        """Find an execution by ``ID``, or ``WORKFLOW/ID`` where the server finds none by its id alone."""
        with self.client() as client:
            yield found(client, name)

    @contextmanager
    def result(self, name: str) -> "Iterator[Result]":
        """Open the result of an execution."""
        with self.execution(name) as execution:
            yield execution.result()

    @property
    def progress(self) -> "Progress":
        """Whether to draw bars: for people who look at a terminal."""
        return False if self.output.is_quiet else "auto"


def found(client: "Client", name: str) -> "Execution":
    """Find an execution by its name on the command line."""
    from wildcast._errors import UnsupportedError

    workflow, slash, execution_id = name.rpartition("/")
    if slash:
        return client.get(workflow, execution_id)
    try:
        return client.get(name)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"This server finds no execution by its id alone, so name its workflow: WORKFLOW/{name}.", error.status
        ) from error


@contextmanager
def usage() -> Iterator[None]:
    """Show what the client says about a value that it was given as an error of usage."""
    from wildcast._errors import WildcastError

    try:
        yield
    except WildcastError:
        raise
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def refuse(sentence: str) -> NoReturn:
    """Say that the command cannot be as it was given."""
    raise click.UsageError(sentence)


class Command(click.Command):
    """A command; it takes the options that all of them have."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **kwargs: Any) -> None:
        super().__init__(name, params=[*(params or ()), *shared_options()], **kwargs)


def shared_options() -> list[click.Option]:
    """Return the options that stand before a command's name or behind it."""
    return [
        click.Option(
            ["--url"],
            metavar="URL",
            expose_value=False,
            callback=_set_url,
            help="The server.  [default: $WILDCAST_URL, or the one that `wildcast login` was told]",
        ),
        click.Option(
            ["--json"], is_flag=True, is_eager=True, expose_value=False, callback=_set_json, help="Print JSON."
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="No bars and no notes.",
        ),
    ]


def _set_url(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).url = value


def _set_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).output.as_json = True


def _set_quiet(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).output.is_quiet = True
