"""Hosting workflows in the runner's process: loading, keeping warm, running one execution, saying how it went."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import invalidate_caches
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from wildcast_server.domain.context import RunContext
from wildcast_server.domain.discovery import Discovery, discover, discover_file, sha256_of
from wildcast_server.domain.parameters import as_sentence, field_errors, restore
from wildcast_server.domain.registry import Entry, Registry
from wildcast_server.domain.sink import OutputSink
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import ExecutionCancelledError, WildcastServerError, WorkflowLoadError
from wildcast_server.jobs import memory, protocol
from wildcast_server.jobs.call_note import noting
from wildcast_server.jobs.dialect import DIALECT
from wildcast_server.jobs.sinks import sink_of
from wildcast_server.jobs.surroundings import used_device
from wildcast_server.jobs.throttle import LatestSender

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 64_000
"""The longest error text and traceback that are sent, in characters."""


def probe(request: protocol.Probe, channel: protocol.Channel) -> None:
    """Import files, and say one by one what they give; those that this process does not survive say nothing."""
    for file in request.files:
        channel.send(protocol.Importing(file=file))
        found = discover_file(Path(file), DIALECT).registry
        channel.send(protocol.Found(file=file, workflows={name: found.get(name).timeout_seconds for name in found}))
    channel.send(protocol.Ready())


@dataclass(frozen=True)
class _Hosted:
    """A constructed workflow, and the hash of the file that it was loaded from."""

    instance: Workflow
    sha256: str | None


class Host:
    """Runs workflows, each constructed once."""

    def __init__(self, load: protocol.Load, channel: protocol.Channel) -> None:
        self._load = load
        self._channel = channel
        self._entries: dict[str, Entry] = {}
        self._hosted: dict[str, _Hosted] = {}

    def warm_up(self) -> None:
        """Construct what is to be warm, and say so one by one; one that fails harms no other."""
        for name in self._load.warm_up:
            self._channel.send(protocol.Warming(workflow=name))
            try:
                self._get(name)
            except WildcastServerError as error:
                message, own = _told(error)
                self._channel.send(protocol.Warmed(workflow=name, error=message, traceback=own))
            else:
                self._channel.send(protocol.Warmed(workflow=name))
        self._channel.send(protocol.Ready())

    def run(self, request: protocol.Run, cancelled: threading.Event) -> None:
        """Run one execution, and send its outcome whatever it is."""
        outcome = self._outcome(request, cancelled)
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        self._channel.send(outcome)

    def _outcome(self, request: protocol.Run, cancelled: threading.Event) -> protocol.Outcome:
        try:
            hosted = self._get(request.workflow)
        except WildcastServerError as error:
            message, own = _told(error)
            return protocol.NotLoaded(message=message, traceback=own)
        self._channel.send(protocol.Started(workflow_sha256=hosted.sha256))
        measure = _Measure()
        try:
            self._compute(hosted.instance, request, cancelled, measure)
        except BaseException as error:  # noqa: BLE001 - sys.exit() and Ctrl-C of a workflow are its failure too
            # Unless it was told to stop, a workflow that raises this has failed like any other.
            if isinstance(error, ExecutionCancelledError) and cancelled.is_set():
                return protocol.Cancelled(message=describe(error), took=measure.took())
            return protocol.Failed(message=describe(error), traceback=own_traceback(error), took=measure.took())
        return protocol.Done(took=measure.took())

    def _compute(
        self, instance: Workflow, request: protocol.Run, cancelled: threading.Event, measure: "_Measure"
    ) -> None:
        parameters = restore(type(instance), request.parameters)
        with (
            _sink(request) as sink,
            self._context(request, cancelled, sink) as context,
            noting(request.begun) as note_call,
        ):
            measure.begin(context)
            try:
                note_call()
                instance.run(parameters, context)
            finally:
                measure.end()

    @contextmanager
    def _context(self, request: protocol.Run, cancelled: threading.Event, sink: OutputSink) -> Iterator[RunContext]:
        logger = logging.getLogger(f"wildcast.workflow.{request.workflow}")
        handler = _Forward(self._channel, request.execution_id)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)  # the worker's log decides what is kept
        logger.propagate = False
        sender = LatestSender(lambda value: self._channel.send(protocol.Progress(progress=value)))

        def report(progress: dict[str, Any]) -> None:
            self._channel.check_owner()
            sender.put(progress)

        try:
            yield RunContext(
                request.execution_id,
                Path(request.output_directory),
                on_progress=report,
                logger=logger,
                is_cancelled=cancelled.is_set,
                sink=sink,
            )
        finally:
            sender.close()
            logger.removeHandler(handler)

    def _get(self, name: str) -> _Hosted:
        if name not in self._hosted:
            entry = self._find(name)
            self._hosted[name] = _Hosted(self._construct(entry), entry.sha256)
        return self._hosted[name]

    def _construct(self, entry: Entry) -> Workflow:
        workflow, name = entry.workflow, entry.workflow.name
        try:
            config = workflow.Config.model_validate(self._load.configs.get(name) or {})
        except ValidationError as error:
            problems = as_sentence(field_errors(error))
            raise WorkflowLoadError(
                f"the configuration of the workflow {name!r} ({entry.place}) is invalid: {problems}"
            ) from None
        try:
            return workflow(config)
        except BaseException as error:
            raise WorkflowLoadError(
                f"the workflow {name!r} ({entry.place}) could not be constructed: {describe(error)}",
                own_traceback(error),
            ) from error

    def _find(self, name: str) -> Entry:
        """Return the workflow; its file is imported again if it has changed, or failed before."""
        entry = self._entries.get(name)
        if entry is not None and entry.source is not None and sha256_of(entry.source) == entry.sha256:
            return entry
        invalidate_caches()  # what its imports lacked may be there now
        found = self._discover(name)
        self._entries |= {other: found.registry.entry(other) for other in found.registry}
        if name in found.registry:
            return found.registry.entry(name)
        raise WorkflowLoadError(self._missing(name, found))

    def _discover(self, name: str) -> Discovery:
        if self._load.sources is None:
            return discover([Path(directory) for directory in self._load.directories], DIALECT)
        if name in self._load.sources:
            return discover_file(Path(self._load.sources[name]), DIALECT)
        return Discovery(Registry(), ())

    def _missing(self, name: str, found: Discovery) -> str:
        if self._load.sources is not None and name not in self._load.sources:
            places = ", ".join(self._load.directories) or "any directory"
            return (
                f"no file in {places} has a workflow {name!r}, or it failed to load (the log of the start says so): "
                "start the service with its directory, and retry this"
            )
        places = (self._load.sources or {}).get(name) or ", ".join(self._load.directories) or "any directory"
        reasons = "; ".join(failure.message for failure in found.failures) or "no file there failed to load"
        return f"there is no workflow {name!r} in {places}: {reasons}"


@contextmanager
def _sink(request: protocol.Run) -> Iterator[OutputSink]:
    """Give what streamed output goes to; unless the run comes to its end, nothing of a file that is open is left."""
    sink = sink_of(request.sink, Path(request.output_directory))
    try:
        yield sink
        sink.finish()
    except BaseException:
        sink.abort()
        raise


class _Measure:
    """What a run took; of one that never began, nothing."""

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._started = self._ended = time.monotonic()

    def begin(self, context: RunContext) -> None:
        """Begin with the workflow's own code."""
        self._context = context
        memory.reset_peak()
        self._started = time.monotonic()

    def end(self) -> None:
        """Stop the clock."""
        self._ended = time.monotonic()

    def took(self) -> protocol.Took:
        """Sum up."""
        device = None if self._context is None else self._context.device
        return protocol.Took(
            seconds=self._ended - self._started,
            peak_memory_bytes=memory.peak_bytes(),
            device=device or used_device(),
        )


class _Forward(logging.Handler):
    """Sends records to the worker; from a process that the workflow has forked, to standard error, as all it has."""

    def __init__(self, channel: protocol.Channel, execution_id: str) -> None:
        super().__init__()
        self._channel = channel
        self._execution_id = execution_id

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, laid out with its traceback if it has one."""
        try:
            text = protocol.printable(self.format(record), MAX_TRACEBACK)
        except Exception:  # noqa: BLE001 - logging's own rule: a bad record is reported and never raised
            self.handleError(record)
            return
        try:
            self._channel.send(protocol.Log(execution_id=self._execution_id, level=record.levelno, text=text))
        except RuntimeError:
            sys.stderr.write(f"{text}\n")


def _told(error: WildcastServerError) -> tuple[str, str]:
    """Return what is sent of an error of ours: the sentence, and the constructor's traceback if it has one."""
    own = error.traceback if isinstance(error, WorkflowLoadError) else ""
    return protocol.printable(str(error), MAX_MESSAGE), own


def describe(error: BaseException) -> str:
    """Return an exception's type and text, fit for a record."""
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        return f"{kind}: the workflow called sys.exit({error.code!r})"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot even be shown
        text = "(its text could not be made)"
    return protocol.printable(f"{kind}: {text}" if text else kind, MAX_MESSAGE)


def own_traceback(error: BaseException) -> str:
    """Return the traceback from where the workflow's own code begins."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - as above
        text = ""
    # The end says most.
    return protocol.printable(text[-MAX_TRACEBACK:], MAX_TRACEBACK)


def _flush(stream: IO[str]) -> None:
    with suppress(Exception):  # a workflow may have closed or replaced it
        stream.flush()
