"""The runner: runs workflows in a child process that keeps them loaded, one execution after the other."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wildcast_server.errors import (
    ExecutionCancelledError,
    RunnerDiedError,
    SettingsError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.jobs import protocol
from wildcast_server.jobs.process import EXIT_SECONDS, RunnerProcess

logger = logging.getLogger("wildcast_server.workflow")
"""Gets what workflows log and print; each record has ``execution_id``, in its text and as an attribute."""

OnProgress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to run.

    Parameters
    ----------
    parameters
        As `to_json` returned them.
    output_directory
        Is made if it is not there, and must be empty.
    """

    execution_id: str
    workflow: str
    parameters: Mapping[str, Any]
    output_directory: Path


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run took."""

    seconds: float
    peak_memory_bytes: int
    """Of the child's resident memory during the run; models that it keeps loaded count, its own children do not."""
    host: str
    device: str | None = None


@dataclass
class _Active:
    """The run that is going on."""

    run: int
    execution_id: str
    process: RunnerProcess
    cancelled: bool = False
    settled: bool = False
    """Whether the child has said how the run ended, and waits for the next."""
    ended: threading.Event = field(default_factory=threading.Event)


class Runner:
    """Runs one execution at a time in a child process, which is started at the first run and after each death.

    Parameters
    ----------
    directories
        Where workflows are discovered; relative ones are resolved now.
    configs
        By workflow name: the values of its ``Config``.

    Raises
    ------
    SettingsError
        If a configuration holds what is not JSON.
    """

    def __init__(self, directories: Sequence[Path], configs: Mapping[str, Any] | None = None) -> None:
        resolved = tuple(str(Path(directory).resolve()) for directory in directories)
        self._load = protocol.Load(directories=resolved, configs=dict(configs or {}))
        try:
            protocol.encode(self._load)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"a workflow's configuration is not JSON: {error}") from error
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._process: RunnerProcess | None = None
        self._active: _Active | None = None
        self._runs = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the child that is there now."""
        process = self._process
        return process.pid if process is not None and process.is_alive else None

    def run(self, request: RunRequest, on_progress: OnProgress) -> RunReport:
        """Run an execution and wait for its end.

        Parameters
        ----------
        on_progress
            Called in this thread with the whole progress. What it raises goes on, and kills the workflow.

        Raises
        ------
        WorkflowFailedError
            If the workflow raised, or its output directory could not be made.
        WorkflowLoadError
            If there is no such workflow, its file cannot be imported, or it cannot be constructed.
        RunnerDiedError
            If the child ended before the workflow did.
        ExecutionCancelledError
            If it was cancelled, however the workflow took it, or this runner is closed.
        """
        _prepare(request.output_directory)
        with self._turn:
            active = self._begin(request)
            try:
                report = self._converse(active, request, on_progress)
            except WorkflowError as error:
                if active.cancelled:
                    raise _cancelled(active) from error
                raise
            finally:
                self._end(active)
            if active.cancelled:
                raise _cancelled(active)
            return report

    def cancel(self, grace: float, execution_id: str | None = None) -> bool:
        """Ask the workflow that runs to stop; kill it with all that it started if it has not within `grace` seconds.

        Returns when it has ended.

        Parameters
        ----------
        grace
            In seconds.
        execution_id
            Cancel nothing unless this one runs.

        Returns
        -------
        Whether there was something to cancel.
        """
        with self._state:
            active = self._active
            if active is None or execution_id not in (None, active.execution_id):
                return False
            active.cancelled = True
        active.process.channel.send(protocol.Cancel(run=active.run))
        if not active.ended.wait(grace):
            active.process.kill()
            active.ended.wait()
        return True

    def close(self, grace: float = 0.0) -> None:
        """Begin no run any more, cancel the one that is going on, and end the child. Idempotent.

        Parameters
        ----------
        grace
            For the workflow that runs, in seconds; an idle child may tidy up in any case.
        """
        with self._state:
            self._closed = True
        self.cancel(grace)
        with self._state:
            process, self._process = self._process, None
        if process is None:
            return
        process.channel.send(protocol.Exit())
        process.wait(EXIT_SECONDS)
        process.kill()
        process.close()

    def _begin(self, request: RunRequest) -> _Active:
        with self._state:
            if self._closed:
                raise ExecutionCancelledError(f"{request.execution_id} is not begun: the worker is stopping")
            try:
                process = self._living()
            except OSError as error:
                raise RunnerDiedError(f"the process that runs workflows cannot be started: {error}") from error
            self._runs += 1
            process.execution_id = request.execution_id
            process.output.forget()
            self._active = _Active(self._runs, request.execution_id, process)
            return self._active

    def _living(self) -> RunnerProcess:
        if self._process is not None and self._process.is_alive:
            return self._process
        if self._process is not None:
            self._process.close()
        self._process = RunnerProcess(self._load, logger)
        return self._process

    def _end(self, active: _Active) -> None:
        if not active.settled:
            # Whatever the child does now, nobody listens to it: the next run gets another one.
            active.process.kill()
        with self._state:
            self._active = None
        active.ended.set()

    def _converse(self, active: _Active, request: RunRequest, on_progress: OnProgress) -> RunReport:
        active.process.channel.send(
            protocol.Run(
                run=active.run,
                execution_id=request.execution_id,
                workflow=request.workflow,
                parameters=dict(request.parameters),
                output_directory=str(request.output_directory.resolve()),
            )
        )
        for message in active.process.messages:
            if isinstance(message, protocol.Log):
                extra = {"execution_id": message.execution_id}
                logger.log(message.level, "%s: %s", message.execution_id, message.text, extra=extra)
            elif isinstance(message, protocol.Progress):
                on_progress(message.progress)
            else:
                # A child that could not load what it was asked for begins anew: files may have changed.
                active.settled = not isinstance(message, protocol.NotLoaded)
                return _outcome(message)
        raise RunnerDiedError(f"the process that ran the workflow {active.process.describe_death()}")


def _outcome(message: protocol.Done | protocol.Failed | protocol.Cancelled | protocol.NotLoaded) -> RunReport:
    match message:
        case protocol.Done():
            return RunReport(
                seconds=message.seconds, peak_memory_bytes=message.peak_memory_bytes, host=socket.gethostname()
            )
        case protocol.Failed():
            raise WorkflowFailedError(message.message, message.traceback)
        case protocol.Cancelled():
            raise ExecutionCancelledError(message.message)
        case protocol.NotLoaded():
            raise WorkflowLoadError(message.message)


def _cancelled(active: _Active) -> ExecutionCancelledError:
    return ExecutionCancelledError(f"{active.execution_id} was cancelled")


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        empty = next(directory.iterdir(), None) is None
    except OSError as error:
        raise WorkflowFailedError(f"the output directory {directory} cannot be made ({error.strerror})") from error
    if not empty:
        raise WorkflowFailedError(f"the output directory {directory} is not empty: remove what an earlier run left")
