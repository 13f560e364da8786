"""The run context: what a workflow is given beside its parameters."""

import json
import logging
import operator
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildcast_server.domain.sink import DirectorySink, OutputFile, OutputSink, check_output_name
from wildcast_server.errors import ExecutionCancelledError

if TYPE_CHECKING:
    from zarr.abc.store import Store

MAX_DEVICE_LENGTH = 200
"""The longest name of a device, in characters."""

MAX_PROGRESS_BYTES = 65_536
"""The longest progress, as JSON; it is recorded and sent with every status answer."""


class RunContext:
    """One run's surroundings. A test or a notebook can build one from its first two parameters alone.

    Parameters
    ----------
    execution_id
        Which execution this is.
    output_directory
        Where the workflow writes; it exists and is empty.
    on_progress
        Called with the whole progress (JSON values) after each change of it.
    logger
        Where the workflow logs.
    is_cancelled
        Says whether the execution was told to stop.
    sink
        Where streamed output goes; by default into the output directory.
    """

    def __init__(
        self,
        execution_id: str,
        output_directory: Path,
        *,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        logger: logging.Logger | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        sink: OutputSink | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.output_directory = output_directory
        self.logger = logger or logging.getLogger("wildcast.workflow")
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._sink = DirectorySink(output_directory) if sink is None else sink
        self._device: str | None = None
        self._progress: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RunContext({self.execution_id!r}, {str(self.output_directory)!r})"

    @property
    def cancelled(self) -> bool:
        """Whether the execution was told to stop; after a grace its process is killed."""
        return self._is_cancelled is not None and self._is_cancelled()

    def check_cancelled(self) -> None:
        """Raise `ExecutionCancelledError` if the execution was told to stop; a good place is between two steps."""
        if self.cancelled:
            raise ExecutionCancelledError(f"{self.execution_id} was told to stop")

    def open(
        self,
        name: str | os.PathLike[str],
        mode: str = "wb",
        *,
        if_absent: bool = False,
        size_hint: int | None = None,
    ) -> OutputFile:
        """Begin a file of the output that is written piece by piece, past the local disk where that can be.

        With object storage the bytes go straight there, and `close` returns once the store has acknowledged all of
        them. Where a ``with`` block is left by an exception, nothing is left. A file that is not closed when the
        workflow ends is not written, and fails the execution.

        Parameters
        ----------
        name
            Relative to the output directory. Directories in it need not be made.
        mode
            ``wb``, and nothing else: the file can be written from its beginning to its end. For text, put an
            `io.TextIOWrapper` around it.
        if_absent
            Whether closing fails with a `FileExistsError` if there is such a file already; else it is replaced.
        size_hint
            How long the file will be, in bytes, or more. Needed above some 80 GB: object stores take 10,000 parts, and
            their size has to be known before.

        Raises
        ------
        ValueError
            If the output cannot have a file of this name, or the mode is another one.
        FileExistsError
            If a file of this name is there and must not be replaced, or is being written.
        """
        if mode != "wb":
            raise ValueError(f"context.open: the mode must be 'wb', not {mode!r}: streamed output is binary and new")
        if size_hint is not None and size_hint < 0:
            raise ValueError(f"context.open: size_hint is {size_hint}, and cannot be negative")
        return self._sink.open(check_output_name(name), if_absent=if_absent, size_hint=size_hint)

    def zarr_store(self, name: str | os.PathLike[str]) -> "Store":
        """Return a zarr store of the output, for ``zarr.open_group(store=…)`` and ``Dataset.to_zarr(store)``.

        With object storage its chunks go straight there; zarr's metadata stays on the local disk until the workflow
        has ended. It can be read, changed, appended to and deleted from while the workflow runs.

        Parameters
        ----------
        name
            Relative to the output directory, such as ``forecast.zarr``.

        Raises
        ------
        ValueError
            If the output cannot have a store of this name.
        FileExistsError
            If chunks were written there by other means.
        """
        return self._sink.zarr_store(check_output_name(name))

    @property
    def device(self) -> str | None:
        """What the workflow computes on, such as ``cuda:0``; recorded with the result.

        Unless the workflow sets it, the service looks at what its process has initialised.

        Raises
        ------
        TypeError, ValueError
            When it is set: if it is no text, is empty, longer than 200 characters, or cannot be printed.
        """
        return self._device

    @device.setter
    def device(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"device: give its name as text, such as 'cuda:0', not a {type(name).__name__}")
        if not name.strip() or len(name) > MAX_DEVICE_LENGTH or not name.isprintable():
            raise ValueError(f"device: its name must be 1 to {MAX_DEVICE_LENGTH} printable characters")
        self._device = name

    def progress(
        self,
        /,
        current_step: int | None = None,
        total_steps: int | None = None,
        *,
        progress: float | str | None = None,
        **own: Any,
    ) -> None:
        """Report how far the run is. What was reported before stays until it is given anew.

        Parameters
        ----------
        current_step, total_steps
            Steps done, and steps there are. Once both are known, the fraction follows from them.
        progress
            The fraction done, from 0 to 1, where steps do not tell it; or a few words.
        **own
            The workflow's own fields, any JSON values; readers get them as they are.

        Raises
        ------
        TypeError, ValueError
            If a value is not JSON (a NaN is not), a step negative, a fraction outside 0 … 1, or all of it longer
            than 64 KiB. What was reported before stands.
        """
        given = {"current_step": current_step, "total_steps": total_steps}
        steps = {name: _as_step(name, value) for name, value in given.items() if value is not None}
        with self._lock:
            changed = {**self._progress, **own, **steps}
            if progress is not None:
                changed["progress"] = progress if isinstance(progress, str) else _as_fraction(progress)
            elif steps:
                changed["progress"] = _fraction_of(changed)
            self._progress = _as_json(changed)
            if self._on_progress is not None:
                self._on_progress(dict(self._progress))


def _as_step(name: str, value: int) -> int:
    try:
        step = operator.index(value)
    except TypeError:
        raise TypeError(f"progress: {name} is {value!r}, and not a whole number") from None
    if step < 0:
        raise ValueError(f"progress: {name} is {step}, and cannot be negative")
    return step


def _as_fraction(value: float) -> float:
    try:
        fraction = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"progress: {value!r} is neither a fraction nor text") from None
    if not 0 <= fraction <= 1:
        raise ValueError(f"progress: {fraction} is no fraction from 0 to 1")
    return fraction


def _fraction_of(progress: dict[str, Any]) -> float | None:
    current, total = progress.get("current_step"), progress.get("total_steps")
    if current is None or not total:
        return None
    return float(min(current / total, 1.0))


def _as_json(progress: dict[str, Any]) -> dict[str, Any]:
    copies = {name: _copy_json(name, value) for name, value in progress.items()}
    size = len(json.dumps(copies))
    if size > MAX_PROGRESS_BYTES:
        raise ValueError(f"progress: {size} bytes are more than the {MAX_PROGRESS_BYTES} that a progress may have")
    return copies


def _copy_json(name: str, value: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"progress: the field {name!r} is not JSON ({error}): give numbers, text, lists, mappings"
        ) from error
    return json.loads(text)
