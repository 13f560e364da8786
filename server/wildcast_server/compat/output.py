"""The IO backend that a workflow of Earth2Studio's writes to, and the progress that follows from its writing."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from wildcast_server.compat.models import WorkflowProgress

OUTPUTS = {"zarr": "results.zarr", "netcdf4": "results.nc"}
"""The name of the output, by its format."""


class ReportsProgress(Protocol):
    """A workflow that may be told about progress."""

    def update_progress(self, progress: WorkflowProgress) -> None:
        """Report progress."""


@contextmanager
def open_output(directory: Path, output_format: str) -> Iterator[Any]:
    """Open an IO backend in `directory`: Earth2Studio's own where that is installed, otherwise ours.

    Raises
    ------
    ValueError
        If the format is neither ``zarr`` nor ``netcdf4``, or is ``netcdf4`` without Earth2Studio.
    """
    if output_format not in OUTPUTS:
        raise ValueError(f"the output format {output_format!r} is not known: there are {' and '.join(OUTPUTS)}")
    path = directory / OUTPUTS[output_format]
    if not earth2studio_is_installed():
        if output_format != "zarr":
            raise ValueError(f"the output format {output_format!r} needs Earth2Studio: pip install 'wildcast[earth2]'")
        from wildcast_server.compat.zarr_backend import ZarrBackend  # zarr is for the runner's process alone

        yield ZarrBackend(path)
        return
    from earth2studio import io  # it brings PyTorch

    if output_format == "zarr":
        yield io.ZarrBackend(str(path))
        return
    backend = io.NetCDF4Backend(str(path))
    try:
        yield backend
    finally:
        backend.close()


def earth2studio_is_installed() -> bool:
    """Whether the real package is there."""
    try:
        return importlib.util.find_spec("earth2studio.io") is not None
    except ModuleNotFoundError:
        return False


class BackendProgress:
    """An IO backend that reports how many of the lead times are written; everything else is the backend's own.

    Parameters
    ----------
    io
        The backend.
    workflow
        Is told.
    execution_id
        What runs.
    progress_dim
        The dimension that is counted, of the first array that has it.
    """

    def __init__(self, io: Any, workflow: ReportsProgress, execution_id: str, progress_dim: str = "lead_time") -> None:
        self.io = io
        self.workflow = workflow
        self.execution_id = execution_id
        self.progress_dim = progress_dim
        self.progress_array: str | None = None
        self.progress_coords: list[Any] = []

    def add_array(self, coords: Mapping[str, Any], array_name: Any, data: Any = None, **options: Any) -> None:
        """Add arrays, and begin to count with the first that has the dimension."""
        if data is not None:
            options["data"] = self._for_backend(data)
        self.io.add_array(coords, array_name, **options)
        if self.progress_array is None and self.progress_dim in coords:
            self.progress_array = _first(array_name)
            self.progress_coords = list(coords[self.progress_dim])
            self.workflow.update_progress(WorkflowProgress(current_step=0, total_steps=len(self.progress_coords)))

    def write(self, x: Any, coords: Mapping[str, Any], array_name: Any) -> None:
        """Write, and report where that stands in the dimension."""
        self.io.write(self._for_backend(x), coords, array_name)
        if _first(array_name) != self.progress_array or self.progress_dim not in coords:
            return
        last = coords[self.progress_dim][-1]
        if last in self.progress_coords:
            step = self.progress_coords.index(last) + 1
            self.workflow.update_progress(WorkflowProgress(current_step=step))

    def _for_backend(self, x: Any) -> Any:
        if getattr(self.io, "takes_arrays", False):
            return x
        import torch  # where Earth2Studio is, this is too

        # A workflow that computes with NumPy is the same with and without Earth2Studio.
        values = x if isinstance(x, list | tuple) else [x]
        return [value if isinstance(value, torch.Tensor) else torch.as_tensor(value) for value in values]

    def __getattr__(self, name: str) -> Any:
        if name == "io":  # a copy in the making has none yet
            raise AttributeError(name)
        return getattr(self.io, name)

    def __getitem__(self, name: str) -> Any:
        return self.io[name]

    def __contains__(self, name: object) -> bool:
        return name in self.io

    def __iter__(self) -> Iterator[str]:
        return iter(self.io)

    def __len__(self) -> int:
        return len(self.io)


def _first(array_name: Any) -> str:
    return str(array_name if isinstance(array_name, str) else array_name[0])
