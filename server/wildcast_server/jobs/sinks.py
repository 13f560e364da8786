"""Making what a run's streamed output goes to, in the runner's process, from what the worker says of it."""

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wildcast_server.domain.sink import DirectorySink, OutputFile, OutputSink
from wildcast_server.errors import WildcastServerError, WorkflowFailedError
from wildcast_server.jobs.protocol import SinkSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store


def sink_of(spec: SinkSpec | None, directory: Path) -> OutputSink:
    """Return the sink of a run that writes into `directory`."""
    return DirectorySink(directory) if spec is None else _SinkWhenUsed(lambda: _build(spec, directory))


class _SinkWhenUsed(OutputSink):
    """A sink that is built at its first use: a run that streams nothing loads and connects nothing."""

    def __init__(self, build: Callable[[], OutputSink]) -> None:
        self._build = build
        self._built: OutputSink | None = None
        self._lock = threading.Lock()
        self._ended = False

    def open(self, path: str, *, if_absent: bool = False, size_hint: int | None = None) -> OutputFile:
        return self._sink().open(path, if_absent=if_absent, size_hint=size_hint)

    def zarr_store(self, path: str) -> "Store":
        return self._sink().zarr_store(path)

    def finish(self) -> None:
        if (sink := self._end()) is not None:
            sink.finish()

    def abort(self) -> None:
        if (sink := self._end()) is not None:
            sink.abort()

    def _sink(self) -> OutputSink:
        with self._lock:
            if self._built is None:
                if self._ended:
                    raise RuntimeError("the run has ended: nothing can be streamed any more")
                self._built = self._build()
            return self._built

    def _end(self) -> OutputSink | None:
        with self._lock:
            self._ended = True
            return self._built


def _build(spec: SinkSpec, directory: Path) -> OutputSink:
    try:
        module, _, function = spec.factory.partition(":")
        sink = getattr(import_module(module), function)(directory, **spec.arguments)
    except WildcastServerError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a factory is any code; its own words may repeat its arguments
        reason = f"{spec.factory} raised {type(error).__name__}"
    else:
        if isinstance(sink, OutputSink):
            return sink
        reason = f"{spec.factory} made a {type(sink).__name__}, which is no OutputSink"
    # Outside the handlers, so that no traceback shows what the arguments led to.
    raise WorkflowFailedError(f"what the workflow streams cannot be stored: {reason}")
