"""How a command ends: the exit codes, and which error is which."""

from enum import IntEnum

import click

from wildcast._errors import (
    DatasetError,
    ExecutionError,
    InvalidParametersError,
    InvalidPatternError,
    InvalidUrlError,
    MissingFileError,
    NotAFileError,
    NotAuthorizedError,
    PendingFileError,
    ReadError,
    ResultsPendingError,
    ServerBusyError,
    ServerUnavailableError,
    StoreUnavailableError,
    UnknownExecutionError,
    UnknownWorkflowError,
    WaitTimeoutError,
    WildcastError,
)


class ExitCode(IntEnum):
    """What a command's end says; `docs/command-line.md` has the same table."""

    FINE = 0
    """It did what it was asked to."""
    ERROR = 1
    """Anything that has no number of its own, and "no" to a question."""
    USAGE = 2
    """The command, a value or a workflow's parameters are not as they have to be; nothing was done."""
    NOT_FOUND = 3
    """There is no such workflow, execution, file, dataset or variable."""
    NOT_AUTHORIZED = 4
    """The server wants a token, or another one."""
    UNAVAILABLE = 5
    """The server, the CDN or the store cannot be reached, is out of order, or takes no more now; try again later."""
    PENDING = 6
    """The execution has not ended yet, or not in the time that was given."""
    READING_FAILED = 7
    """A file could not be read, or is not what was published."""
    NO_RESULTS = 8
    """The execution has failed or was cancelled, or its results have expired."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT)."""
    CLOSED_PIPE = 141
    """Whoever read the output has stopped, as `head` does (128 + SIGPIPE); nothing is printed."""


_KINDS: tuple[tuple[tuple[type[BaseException], ...], ExitCode], ...] = (
    ((click.UsageError, InvalidParametersError, InvalidPatternError, InvalidUrlError), ExitCode.USAGE),
    ((UnknownWorkflowError, UnknownExecutionError, MissingFileError, DatasetError), ExitCode.NOT_FOUND),
    ((NotAuthorizedError,), ExitCode.NOT_AUTHORIZED),
    ((ServerBusyError, ServerUnavailableError, StoreUnavailableError), ExitCode.UNAVAILABLE),
    ((ResultsPendingError, PendingFileError, WaitTimeoutError), ExitCode.PENDING),
    ((ReadError,), ExitCode.READING_FAILED),
    ((ExecutionError,), ExitCode.NO_RESULTS),
)

EXPECTED = (WildcastError, click.ClickException, OSError, ImportError)
"""What a command shows as a sentence; all else is a defect, and keeps its traceback."""

_ADVICE = {
    UnknownWorkflowError.advice: "`wildcast workflows` lists those that there are",
    UnknownExecutionError.advice: "`wildcast list` lists those that there are",
    InvalidParametersError.advice: "`wildcast workflows NAME` says what it takes",
    NotAuthorizedError.advice: (
        "log in with `wildcast login`, or give another token in WILDCAST_TOKEN with this server in WILDCAST_URL"
    ),
    MissingFileError.advice: "`wildcast ls` lists what there is",
    NotAFileError.advice: "`wildcast ls` lists what is in it, `wildcast get` downloads it",
    ServerUnavailableError.after_submission: "look at `wildcast list` before you submit it again",
}
"""What the client advises in the words of Python, in those of the command line."""


def code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kinds, code in _KINDS if isinstance(error, kinds)), ExitCode.ERROR)


def sentence_of(error: BaseException) -> str:
    """Return what an error says, its advice in the words of the command line."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and not isinstance(error, WildcastError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    text = str(error)
    for advice, here in _ADVICE.items():
        text = text.replace(advice, here)
    return text


def kind_of(error: BaseException) -> str:
    """Return an error's class for programs: one of `import wildcast`, or ``UsageError``, or Python's."""
    return "UsageError" if isinstance(error, click.UsageError) else type(error).__name__
