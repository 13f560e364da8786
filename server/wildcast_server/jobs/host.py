"""Hosting workflows in the runner's process: loading, keeping warm, running one execution, saying how it went."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from wildcast_server.domain.context import RunContext
from wildcast_server.domain.discovery import Discovery, discover
from wildcast_server.domain.parameters import as_sentence, field_errors, restore
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import ExecutionCancelledError, WildcastServerError, WorkflowLoadError
from wildcast_server.jobs import memory, protocol
from wildcast_server.jobs.throttle import LatestSender

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 64_000
"""The longest error text and traceback that are sent, in characters."""


class Host:
    """Runs workflows, each constructed once."""

    def __init__(self, load: protocol.Load, channel: protocol.Channel) -> None:
        self._load = load
        self._channel = channel
        self._discovery: Discovery | None = None
        self._instances: dict[str, Workflow] = {}

    def run(self, request: protocol.Run, cancelled: threading.Event) -> None:
        """Run one execution, and send its outcome whatever it is."""
        outcome = self._outcome(request, cancelled)
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        self._channel.send(outcome)

    def _outcome(self, request: protocol.Run, cancelled: threading.Event) -> protocol.Message:
        try:
            instance = self._instance(request.workflow)
        except WildcastServerError as error:
            return protocol.NotLoaded(message=protocol.printable(str(error), MAX_MESSAGE))
        try:
            return self._compute(instance, request, cancelled)
        except BaseException as error:  # noqa: BLE001 - sys.exit() and Ctrl-C of a workflow are its failure too
            # Unless it was told to stop, a workflow that raises this has failed like any other.
            if isinstance(error, ExecutionCancelledError) and cancelled.is_set():
                return protocol.Cancelled(message=describe(error))
            return protocol.Failed(message=describe(error), traceback=own_traceback(error))

    def _compute(self, instance: Workflow, request: protocol.Run, cancelled: threading.Event) -> protocol.Done:
        parameters = restore(type(instance), request.parameters)
        with self._context(request, cancelled) as context:
            memory.reset_peak()
            started = time.monotonic()
            instance.run(parameters, context)
            return protocol.Done(
                seconds=time.monotonic() - started,
                peak_memory_bytes=memory.peak_bytes(),
            )

    @contextmanager
    def _context(self, request: protocol.Run, cancelled: threading.Event) -> Iterator[RunContext]:
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
            )
        finally:
            sender.close()
            logger.removeHandler(handler)

    def _instance(self, name: str) -> Workflow:
        if name not in self._instances:
            self._instances[name] = self._construct(name)
        return self._instances[name]

    def _construct(self, name: str) -> Workflow:
        workflow, source = self._find(name)
        try:
            config = workflow.Config.model_validate(self._load.configs.get(name) or {})
        except ValidationError as error:
            problems = as_sentence(field_errors(error))
            raise WorkflowLoadError(f"the configuration of the workflow {name!r} is invalid: {problems}") from None
        try:
            return workflow(config)
        except BaseException as error:
            traceback.print_exc()  # standard error goes to the worker's log
            raise WorkflowLoadError(
                f"the workflow {name!r} ({source}) could not be constructed: {describe(error)}"
            ) from error

    def _find(self, name: str) -> tuple[type[Workflow], Path | None]:
        if self._discovery is None:
            self._discovery = discover(Path(directory) for directory in self._load.directories)
        registry, failures = self._discovery.registry, self._discovery.failures
        if name in registry:
            return registry.get(name), registry.source(name)
        reasons = "; ".join(failure.message for failure in failures) or "no file there failed to load"
        raise WorkflowLoadError(
            f"there is no workflow {name!r} in {', '.join(self._load.directories) or 'any directory'}: {reasons}"
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
