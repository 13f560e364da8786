"""The runner: runs workflows in a child process that keeps them loaded, one execution after the other."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from wildcast.contract.wire import Provenance
from wildcast_server.errors import (
    ExecutionCancelledError,
    RunnerDiedError,
    SettingsError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.jobs import protocol
from wildcast_server.jobs.loading import LOADING_SETTING, LoadingLimit
from wildcast_server.jobs.process import EXIT_SECONDS, RunnerProcess
from wildcast_server.jobs.surroundings import surroundings
from wildcast_server.jobs.warm_up import Fatal, follow_warm_up

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
    sink
        Where what the workflow streams goes; None: into the output directory.
    begun
        A file that says whether the workflow was called (`was_called`); None for none.
    """

    execution_id: str
    workflow: str
    parameters: Mapping[str, Any]
    output_directory: Path
    sink: protocol.SinkSpec | None = None
    begun: Path | None = None


@dataclass
class _Active:
    """The run that is going on."""

    run: int
    request: RunRequest
    provenance: Provenance = field(default_factory=surroundings)
    """What is known of it so far."""
    cancelled: bool = False
    loaded: bool = False
    """Whether the workflow has begun."""
    settled: bool = False
    """Whether the child has said how the run ended, and waits for the next."""
    ended: threading.Event = field(default_factory=threading.Event)

    def learn(self, **facts: Any) -> None:
        """Add to what is known."""
        self.provenance = msgspec.structs.replace(self.provenance, **facts)


class Runner:
    """Runs one execution at a time in a child process, which is started by `warm_up` or the first run.

    After a death the next run starts another, or `warm_up` does where there is something to keep warm.

    Parameters
    ----------
    directories
        Where workflows are discovered; relative ones are resolved now.
    configs
        By workflow name: the values of its ``Config``.
    sources
        By workflow name: its file. Then a run imports that one alone, whatever else is in `directories`, and what is
        not named here is unknown.
    warm_up
        The workflows to construct in every child before it runs anything; see `warm_up`.
    loading_seconds
        How long the import and construction of one workflow may take; None for any time.

    Raises
    ------
    SettingsError
        If a configuration holds what is not JSON.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        configs: Mapping[str, Any] | None = None,
        *,
        sources: Mapping[str, Path] | None = None,
        warm_up: Sequence[str] = (),
        loading_seconds: float | None = None,
    ) -> None:
        _check_configs(configs or {})
        self._load = protocol.Load(
            directories=tuple(str(Path(directory).resolve()) for directory in directories),
            configs=dict(configs or {}),
            sources=None if sources is None else {name: str(path.resolve()) for name, path in sources.items()},
            warm_up=tuple(dict.fromkeys(warm_up)),
        )
        self._loading_seconds = loading_seconds
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

    def warm_up(self) -> None:
        """Begin, in the background, to start the child and construct the workflows that are to be warm.

        A run waits for that. One that fails is logged, with its file and the reason; one that ends the child is not
        tried again. A child that had to be killed after a run is replaced in the same way.
        """
        if self._load.warm_up:
            threading.Thread(target=self._warm, name="warm-up", daemon=True).start()

    def run(
        self, request: RunRequest, on_progress: OnProgress, on_start: Callable[[], None] = lambda: None
    ) -> Provenance:
        """Run an execution and wait for its end.

        Parameters
        ----------
        on_progress
            Called in this thread with the whole progress. What it raises goes on, and kills the workflow.
        on_start
            Called in this thread when the workflow is loaded and begins.

        Returns
        -------
        What ran, and what it took. The peak of memory is the child's: models that it keeps loaded count, its own
        children do not.

        Raises
        ------
        WorkflowError
            Those below; its `provenance` says what is known of the run.
        WorkflowFailedError
            If the workflow raised, or its output directory could not be made.
        WorkflowLoadError
            If there is no such workflow, its file cannot be imported, or it cannot be constructed, or not in time.
        RunnerDiedError
            If the child ended before the workflow did.
        ExecutionCancelledError
            If it was cancelled, however the workflow took it, or this runner is closed.
        """
        _prepare(request.output_directory)
        with self._turn:
            active = self._begin(request)
            process: RunnerProcess | None = None
            try:
                process = self._ready(active)
                self._converse(process, active, on_progress, on_start)
                if active.cancelled:
                    raise _cancelled(active)
            except WorkflowError as error:
                error.provenance = active.provenance
                if active.cancelled and not isinstance(error, ExecutionCancelledError):
                    raise _cancelled(active) from error
                raise
            finally:
                self._end(active, process)
            return active.provenance

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
            if active is None or execution_id not in (None, active.request.execution_id):
                return False
            active.cancelled = True
            # From here on there is no other child for this run.
            process = self._process
        if process is not None and grace > 0:
            # In a thread: a child that does not read would hold up its own end.
            told = protocol.Cancel(run=active.run)
            threading.Thread(target=process.channel.send, args=(told,), name="cancel", daemon=True).start()
        if not active.ended.wait(grace) and process is not None:
            process.kill()
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
        if process.is_ready:
            process.channel.send(protocol.Exit())
            process.wait(EXIT_SECONDS)
        process.kill()
        process.close()

    def _warm(self) -> None:
        with self._turn:
            try:
                self._ready(None)
            except ExecutionCancelledError:
                return
            except RunnerDiedError as error:
                logger.error("nothing is warm: %s", error)  # noqa: TRY400 - the sentence says it all

    def _begin(self, request: RunRequest) -> _Active:
        with self._state:
            self._runs += 1
            self._active = _Active(self._runs, request)
            return self._active

    def _ready(self, active: _Active | None) -> RunnerProcess:
        """Return a child that has constructed what is to be warm; it is the same one until it dies."""
        while True:
            process = self._living(active)
            if process.is_ready:
                return process
            try:
                fatal = follow_warm_up(process, self._loading_seconds)
            except RunnerDiedError:
                if not self._is_stopped(active):
                    raise
                continue  # it was killed for that, and `_living` says so
            if fatal is not None and not self._is_stopped(active):
                self._leave_cold(fatal)

    def _living(self, active: _Active | None) -> RunnerProcess:
        with self._state:
            if self._is_stopped(active):
                raise ExecutionCancelledError(
                    "nothing is begun: the execution was cancelled, or the worker is stopping"
                )
            if self._process is not None and self._process.is_alive:
                return self._process
            if self._process is not None:
                self._process.close()
            try:
                self._process = RunnerProcess(self._load, logger)
            except OSError as error:
                raise RunnerDiedError(f"the process that runs workflows cannot be started: {error}") from error
            return self._process

    def _is_stopped(self, active: _Active | None) -> bool:
        return self._closed or (active is not None and active.cancelled)

    def _leave_cold(self, fatal: Fatal) -> None:
        logger.error(
            "not warm, and not tried again: a process that constructs the workflow %r%s %s",
            fatal.workflow,
            self._place(fatal.workflow),
            fatal.how,
        )
        others = tuple(other for other in self._load.warm_up if other != fatal.workflow)
        self._load = msgspec.structs.replace(self._load, warm_up=others)

    def _place(self, name: str) -> str:
        path = (self._load.sources or {}).get(name)
        return f" ({path})" if path else ""

    def _end(self, active: _Active, process: RunnerProcess | None) -> None:
        if process is not None and not active.settled:
            # Whatever the child does now, nobody listens to it: the next run gets another one.
            process.kill()
        with self._state:
            self._active = None
        active.ended.set()
        if process is not None and not active.settled:
            self.warm_up()

    def _converse(
        self, process: RunnerProcess, active: _Active, on_progress: OnProgress, on_start: Callable[[], None]
    ) -> None:
        request = active.request
        process.execution_id = request.execution_id
        process.output.forget()
        process.channel.send(
            protocol.Run(
                run=active.run,
                execution_id=request.execution_id,
                workflow=request.workflow,
                parameters=dict(request.parameters),
                output_directory=str(request.output_directory.resolve()),
                sink=request.sink,
                begun=None if request.begun is None else str(request.begun.resolve()),
            )
        )
        with LoadingLimit(process, self._loading_seconds, LOADING_SETTING) as limit:
            limit.begin()
            for message in process.messages:
                match message:
                    case protocol.Log():
                        extra = {"execution_id": message.execution_id}
                        logger.log(message.level, "%s: %s", message.execution_id, message.text, extra=extra)
                    case protocol.Progress():
                        on_progress(message.progress)
                    case protocol.Started():
                        limit.end()
                        active.loaded = True
                        active.learn(workflow_sha256=message.workflow_sha256)
                        on_start()
                    case protocol.Done() | protocol.Failed() | protocol.Cancelled() | protocol.NotLoaded():
                        active.settled = True
                        _settle(active, message)
                        return
        which = f"{request.workflow!r}{self._place(request.workflow)}"
        if limit.has_passed:
            raise WorkflowLoadError(f"loading {which} {limit.describe()}")
        what = "that ran the workflow" if active.loaded else f"that loaded {which}"
        raise RunnerDiedError(f"the process {what} {limit.describe()}")


def _check_configs(configs: Mapping[str, Any]) -> None:
    for name, config in configs.items():
        try:
            protocol.encode(protocol.Load(directories=(), configs={name: config}))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"workflows.config.{name} is not JSON, which its process is sent: {error}") from error


def _settle(active: _Active, outcome: protocol.Outcome) -> None:
    if isinstance(outcome, protocol.NotLoaded):
        raise WorkflowLoadError(outcome.message, outcome.traceback)
    took = outcome.took
    active.learn(device=took.device, peak_memory_bytes=took.peak_memory_bytes, compute_seconds=took.seconds)
    match outcome:
        case protocol.Failed():
            raise WorkflowFailedError(outcome.message, outcome.traceback)
        case protocol.Cancelled():
            raise ExecutionCancelledError(outcome.message)


def _cancelled(active: _Active) -> ExecutionCancelledError:
    return ExecutionCancelledError(f"{active.request.execution_id} was cancelled")


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        empty = next(directory.iterdir(), None) is None
    except OSError as error:
        raise WorkflowFailedError(f"the output directory {directory} cannot be made ({error.strerror})") from error
    if not empty:
        raise WorkflowFailedError(f"the output directory {directory} is not empty: remove what an earlier run left")
