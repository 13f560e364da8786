"""An example workflow: a netCDF file becomes a zarr store, block by block, with its values and metadata as they are."""

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import xarray as xr
import zarr
from pydantic import BaseModel, Field, PositiveInt

from wildcast_server import RunContext, Workflow

TIME_STEPS = 12
"""Time steps in a chunk, unless the request says otherwise."""

MAX_CHUNK = 16 * 2**20
"""The largest chunk that is chosen by default, in bytes before compression, as far as one step fits into it."""

SMALL = 64 * 2**10
"""An array of so many bytes is one chunk."""

RELATING = ("coordinates", "bounds", "climatology", "grid_mapping", "cell_measures", "formula_terms")
"""The attributes by which a variable refers to others (CF conventions 1.11, appendix A)."""

CONSOLIDATED_V3 = "Consolidated metadata is currently not part in the Zarr format 3 specification"


def sample_directories() -> list[Path]:
    """Where the package ``iris-sample-data`` has its files, if it is installed."""
    spec = importlib.util.find_spec("iris_sample_data")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "sample_data"]


class NetcdfToZarr(Workflow):
    """Convert a netCDF file to a zarr store."""

    name = "netcdf_to_zarr"

    class Parameters(BaseModel):
        """What to convert, and how."""

        source: str = Field(
            min_length=1,
            description="The file (netCDF-4, root group): its name below one of the server's source directories.",
            examples=["E1_north_america.nc"],
        )
        chunks: dict[str, PositiveInt] | None = Field(
            None,
            description="Chunk length by dimension; other dimensions are not divided. "
            f"By default {TIME_STEPS} steps of time, fewer if they are large.",
            examples=[{"time": 12}],
        )
        variables: Annotated[list[str], Field(min_length=1)] | None = Field(
            None, description="Only these, with their coordinates, bounds and grid mappings; by default all."
        )
        output: str | None = Field(
            None,
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.zarr$",
            max_length=200,
            description="The store's name; by default the source's with `.zarr`.",
        )
        zarr_format: Literal[2, 3] = 3

    class Config(BaseModel):
        """Where sources may lie."""

        roots: list[Path] = Field(
            default_factory=sample_directories, description="Sources are read from below these directories only."
        )

    def run(self, parameters: Any, context: RunContext) -> None:
        """Write ``<output>`` into the output directory."""
        source = find_source(parameters.source, self.config.roots)
        target = context.output_directory / (parameters.output or f"{source.stem}.zarr")
        # Nothing is decoded: what the file holds (packed values, calendars, fill values) goes over as it is, and
        # decodes to the same on both sides.
        with _open(source) as dataset:
            chosen = _choose(dataset, source.name, parameters.variables)
            conversion = Conversion(chosen, target, parameters.zarr_format, parameters.chunks)
            context.logger.info("%s: %d variables, %d bytes", source.name, len(chosen.variables), chosen.nbytes)
            context.progress(0, conversion.steps)
            for done, variable in enumerate(conversion.run(), start=1):
                context.progress(done, conversion.steps, variable=variable)
                context.check_cancelled()


class Conversion:
    """One dataset on its way into one store, holding a block of one variable in memory.

    Small variables, and those that are not numbers, are written whole; the others are divided into chunks and written
    a row of chunks at a time, along the first dimension that is divided.

    Parameters
    ----------
    dataset
        Not decoded.
    chunks
        Chunk length by dimension; None lets the conversion choose.
    """

    def __init__(self, dataset: xr.Dataset, target: Path, zarr_format: int, chunks: dict[str, int] | None) -> None:
        unknown = sorted(set(chunks or ()) - {str(dimension) for dimension in dataset.sizes})
        if unknown:
            known = ", ".join(str(dimension) for dimension in dataset.sizes)
            raise ValueError(f"chunks: there is no dimension {', '.join(unknown)}; the dimensions are {known}")
        self._dataset = dataset
        self._target = target
        self._format: Any = zarr_format
        self._chunks = {name: chunk_shape(variable, chunks) for name, variable in dataset.variables.items()}
        self._divided = [name for name, shape in self._chunks.items() if self._is_divided(name, shape)]

    @property
    def steps(self) -> int:
        """How many steps `run` takes."""
        return 2 + sum(len(self._blocks(name)) for name in self._divided)

    def run(self) -> Iterator[str]:
        """Write the store; yield after each step the name of what it wrote."""
        self._write([name for name in self._dataset.variables if name not in self._divided], mode="w")
        yield "coordinates"
        for name in self._divided:
            for _ in self._write_divided(name):
                yield str(name)
        self._consolidate()
        yield "metadata"

    def _is_divided(self, name: Any, shape: tuple[int, ...]) -> bool:
        return any(length < size for length, size in zip(shape, self._dataset.variables[name].shape, strict=True))

    def _axis(self, name: Any) -> int:
        shape = self._dataset.variables[name].shape
        return next(axis for axis, size in enumerate(shape) if self._chunks[name][axis] < size)

    def _blocks(self, name: Any) -> list[tuple[slice, ...]]:
        axis = self._axis(name)
        before = (slice(None),) * axis
        size, length = self._dataset.variables[name].shape[axis], self._chunks[name][axis]
        return [(*before, slice(start, min(start + length, size))) for start in range(0, size, length)]

    def _write_divided(self, name: Any) -> Iterator[None]:
        variable = self._dataset.variables[name]
        first, *others = self._blocks(name)
        # xarray creates the array with the first block in it, and so decides how attributes are written.
        self._write([name], mode="a", block=first)
        array = zarr.open_group(self._target, mode="r+", zarr_format=self._format)[str(name)]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{name!r} in {self._target} is no array")
        array.resize(variable.shape)
        yield
        for block in others:
            array[block] = variable[block].values
            yield

    def _write(self, names: list[Any], mode: Literal["w", "a"], block: tuple[slice, ...] = ()) -> None:
        variables = {name: self._portable(self._dataset.variables[name][block]) for name in names}
        part = xr.Dataset(variables, attrs=self._dataset.attrs).drop_encoding()
        for name, variable in part.variables.items():
            variable.encoding["chunks"] = self._chunks[name]
            if "_FillValue" not in variable.attrs:
                variable.encoding["_FillValue"] = None  # or xarray would give every float array one
        part.to_zarr(self._target, mode=mode, consolidated=False, zarr_format=self._format)

    def _portable(self, variable: xr.Variable) -> xr.Variable:
        # Text of a fixed length has no specification in zarr 3; text of any length has.
        return variable.astype(object) if self._format == 3 and variable.dtype.kind == "U" else variable  # noqa: PLR2004

    def _consolidate(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=CONSOLIDATED_V3)
            zarr.consolidate_metadata(self._target, zarr_format=self._format)


def chunk_shape(variable: xr.Variable, chunks: dict[str, int] | None) -> tuple[int, ...]:
    """Decide on the chunks of one variable; see `Conversion`."""
    shape = tuple(max(size, 1) for size in variable.shape)  # zarr has no chunks of length 0
    whole = MAX_CHUNK if variable.ndim == 1 else SMALL
    if variable.dtype.kind not in "biuf" or variable.nbytes <= whole:
        return shape
    if chunks is not None:
        return tuple(
            min(chunks.get(str(dimension), size), size) for dimension, size in zip(variable.dims, shape, strict=True)
        )
    axis = variable.dims.index("time") if "time" in variable.dims else 0
    fitting = max(MAX_CHUNK * shape[axis] // variable.nbytes, 1)
    length = min(fitting, TIME_STEPS if variable.dims[axis] == "time" else fitting, shape[axis])
    return (*shape[:axis], length, *shape[axis + 1 :])


def find_source(source: str, roots: list[Path]) -> Path:
    """Return the file that `source` names below one of `roots`, with links followed.

    Raises
    ------
    ValueError
        If there are no roots, or it is no file below one of them: whether there is such a file elsewhere is not said.
    """
    if not roots:
        raise ValueError("no source directory is configured: set `roots` in this workflow's configuration")
    for root in roots:
        path = (root / source).resolve()
        if path.is_relative_to(root.resolve()) and path.is_file():
            return path
    raise ValueError(f"source: there is no file {source!r} below the server's source directories")


def _open(source: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(source, engine="h5netcdf", cache=False, decode_cf=False)
    except OSError as error:
        raise ValueError(f"source: {source.name} cannot be read as netCDF-4 ({error})") from error


def _choose(dataset: xr.Dataset, file: str, variables: list[str] | None) -> xr.Dataset:
    if variables is None:
        return dataset
    unknown = sorted(set(variables) - {str(name) for name in dataset.variables})
    if unknown:
        known = ", ".join(str(name) for name in dataset.variables)
        raise ValueError(f"variables: {file} has no {', '.join(unknown)}; it has {known}")
    kept = _with_related(dataset, variables)
    return dataset.drop_vars([name for name in dataset.variables if name not in kept])


def _with_related(dataset: xr.Dataset, variables: list[str]) -> set[str]:
    """Add what a variable's dimensions and CF attributes refer to, and what that refers to."""
    kept: set[str] = set()
    pending = [*variables, *_words(dataset.attrs, ["coordinates"])]
    while pending:
        name = pending.pop()
        if name in dataset.variables and name not in kept:
            kept.add(name)
            variable = dataset.variables[name]
            pending += [str(dimension) for dimension in variable.dims]
            pending += _words(variable.attrs, RELATING)
    return kept


def _words(attributes: dict[Any, Any], names: Sequence[str]) -> list[str]:
    return " ".join(str(attributes.get(name, "")) for name in names).replace(":", " ").split()
