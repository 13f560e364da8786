"""The program itself: which commands there are, and how each of them ends."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click
from click.shell_completion import shell_complete

from wildcast._version import __version__
from wildcast.cli.exits import EXPECTED, ExitCode, code_of
from wildcast.cli.invocation import Invocation, shared_options

PROGRAM = "wildcast"
COMPLETE_VARIABLE = "_WILDCAST_COMPLETE"
"""In it the scripts of `wildcast completion` say that words are to be completed."""

COMMANDS = {
    "login": "access",
    "logout": "access",
    "workflows": "submitting",
    "submit": "submitting",
    "status": "watching",
    "wait": "watching",
    "list": "watching",
    "ls": "reading",
    "get": "reading",
    "cat": "reading",
    "open": "datasets",
    "plot": "datasets",
    "url": "reading",
    "cancel": "acting",
    "retry": "acting",
    "delete": "acting",
    "pin": "acting",
    "completion": "completing",
}
"""Each command's module, in the order of `wildcast --help`; a module has the command as ``<name>_command``."""


class Program(click.Group):
    """The group of all commands; each one's module is imported when the command is looked at."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Return one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"wildcast.cli.{COMMANDS[cmd_name]}"), f"{cmd_name}_command")
        return command


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def cli(context: click.Context) -> None:
    """Submit requests to a wildcast server, watch them, and read what they have published.

    An execution is named by its ID; where a server finds none by its id alone, as Earth2Studio's, by WORKFLOW/ID.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)


cli.params.extend(shared_options())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments
        What stands behind its name; this process's own if None.

    Returns
    -------
    int
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    invocation = Invocation()
    # Where the words themselves are wrong, nothing has been read from them.
    invocation.output.as_json = "--json" in words
    with suppress(AttributeError):
        # A name that this terminal cannot show is no reason to stop.
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return _called(words, invocation)
    except BrokenPipeError:
        _leave_output()
        return ExitCode.CLOSED_PIPE
    except (KeyboardInterrupt, click.Abort):
        invocation.output.failure(KeyboardInterrupt("Interrupted."))
        return ExitCode.INTERRUPTED
    except UnicodeEncodeError:
        if all(_is_unicode(word) for word in words):
            raise
        invocation.output.failure(click.UsageError("A word of this command is not in this terminal's encoding."))
        return ExitCode.USAGE
    except EXPECTED as error:
        _failed(invocation, error)
        return code_of(error)


def _is_unicode(word: str) -> bool:
    # Bytes that are none of the terminal's encoding, as a file's name may have them, are surrogates here.
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _called(words: list[str], invocation: Invocation) -> int:
    # Without `Group.main`, which ends with 1 for a closed pipe, and on Windows makes files of the patterns of `get`.
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(cli, {"obj": invocation}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        with cli.make_context(PROGRAM, words, obj=invocation) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return ExitCode.FINE


def _failed(invocation: Invocation, error: BaseException) -> None:
    context = getattr(error, "ctx", None)
    if context is not None and not invocation.output.as_json:
        sys.stderr.write(f"{context.get_usage()}\n")
    invocation.output.failure(error)


def _leave_output() -> None:
    # What Python still holds for standard output would be an error once more when it ends.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
