"""Opening the datasets of a result with xarray."""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from wildcast._errors import DatasetError, shown
from wildcast.contract.manifest import Dataset

if TYPE_CHECKING:
    import xarray as xr
    from fsspec.mapping import FSMap

    from wildcast._filesystem import SignedFileSystem
    from wildcast._signed_file import SignedFile

T = TypeVar("T")

_OPENED_AT_A_TIME = 8

_NOT_CONSOLIDATED = re.compile(r"Consolidated metadata requested|^\.zmetadata$")
"""What zarr says of a store that has none, in format 3 and in format 2."""

_NO_DIMENSIONS = re.compile("dimension_names|_ARRAY_DIMENSIONS|argument: 'prototype'")
"""What xarray says of a store that zarr alone has written, in either format.

The last is how its look for NCZarr's names fails, in format 2, on every store but a directory.
"""

_SMALL_CHUNK = 1 << 20
_MANY_CHUNKS = 100


class SmallChunksWarning(UserWarning):
    """Reading with dask will be slow, because each of many small chunks is a task."""


def open_dataset(fs: "SignedFileSystem", dataset: Dataset, options: Mapping[str, Any]) -> "xr.Dataset":
    """Open a dataset lazily; `options` are for xarray, and go before what is known."""
    import xarray as xr

    if dataset.format == "netcdf":
        opened = xr.open_dataset(*_netcdf(fs, dataset, options), **{"engine": "h5netcdf", **options})
    else:
        opened = _open_zarr(xr.open_dataset, fs, dataset, options)
    if options.get("chunks") == {}:
        _warn_of_small_chunks(opened.variables)
    return opened


def open_datatree(fs: "SignedFileSystem", dataset: Dataset, options: Mapping[str, Any]) -> "xr.DataTree":
    """Open a dataset with all its groups."""
    import xarray as xr

    if dataset.format == "netcdf":
        opened = xr.open_datatree(*_netcdf(fs, dataset, options), **{"engine": "h5netcdf", **options})
    else:
        opened = _open_zarr(xr.open_datatree, fs, dataset, options)
    if options.get("chunks") == {}:
        groups = {node.path.rstrip("/"): node.variables for node in opened.subtree}
        _warn_of_small_chunks({f"{path}/{name}": group[name] for path, group in groups.items() for name in group})
    return opened


def open_many(opening: Mapping[str, "Callable[[], xr.Dataset]"]) -> "dict[str, xr.Dataset]":
    """Open several datasets at once; if one cannot be opened, those that were are closed."""
    with ThreadPoolExecutor(_OPENED_AT_A_TIME, "wildcast-open") as pool:
        futures = {path: pool.submit(open_one) for path, open_one in opening.items()}
    failed = [future for future in futures.values() if future.exception() is not None]
    if failed:
        for future in futures.values():
            if future.exception() is None:
                future.result().close()
        failed[0].result()
    return {path: future.result() for path, future in futures.items()}


def concatenate(datasets: "Mapping[str, xr.Dataset]", names: list[str], dim: str) -> "xr.Dataset":
    """Put datasets of the same form one behind the other along a new dimension, which has their names.

    Coordinates that are no indexes are read, to be compared: those that differ lie along the new dimension as well.

    Raises
    ------
    ValueError
        If their variables, dimensions, types, units or indexes differ, or one of them has such a dimension already.
    """
    import xarray as xr

    members = list(datasets.items())
    for path, dataset in members:
        _check_form(members[0], (path, dataset), dim)
    index = xr.DataArray(names, dims=[dim], name=dim)
    return xr.concat(
        [dataset for _, dataset in members],
        dim=index,
        data_vars="all",
        coords="different",
        compat="equals",
        join="exact",
        combine_attrs="drop_conflicts",
    )


def _check_form(first: "tuple[str, xr.Dataset]", other: "tuple[str, xr.Dataset]", dim: str) -> None:
    paths, (one, two) = f"{first[0]!r} and {other[0]!r}", (first[1], other[1])
    if dim in two.variables or dim in two.dims:
        raise ValueError(f"{other[0]!r} has {dim!r} already; give the new dimension another name.")
    for kind, mine, theirs in (("variables", one.data_vars, two.data_vars), ("coordinates", one.coords, two.coords)):
        if differing := sorted(map(str, set(mine) ^ set(theirs))):
            raise ValueError(f"{paths} have different {kind}: {', '.join(differing)} in one of them only.")
    for name, variable in one.variables.items():
        for what, here, there in zip(_FORM, _form(variable), _form(two.variables[name]), strict=True):
            if here != there:
                raise ValueError(f"{name!r} has other {what} in {paths}: {here} and {there}.")


_FORM = ("dimensions", "types", "units")


def _form(variable: "xr.Variable") -> tuple[object, ...]:
    # Texts may be of any length in each.
    kind = variable.dtype.kind if variable.dtype.kind in "US" else variable.dtype
    return variable.dims, kind, variable.attrs.get("units")


def check_dask() -> None:
    """Hold that dask is there: without it putting datasets together would read all of them.

    Raises
    ------
    ImportError
        If it is not.
    """
    if find_spec("dask") is None:
        raise ImportError(
            "Putting datasets together without reading them needs dask (pip install 'dask[array]'); `open_datasets` "
            "opens them one by one without it."
        )


def _open_zarr(opener: Callable[..., T], fs: "SignedFileSystem", dataset: Dataset, options: Mapping[str, Any]) -> T:
    """Open a store by its consolidated metadata, or, where it has none, by all of its metadata.

    A store has none that zarr alone has written, or that is still being written.
    """
    from zarr.storage import FsspecStore

    mapper, known = _mapper(fs, dataset), {**_zarr(dataset), **options}
    with _naming_dimensions(dataset):
        try:
            return opener(mapper, **known)
        except ValueError as error:
            if "consolidated" in options or not _NOT_CONSOLIDATED.search(str(error)):
                raise
        # Not a mapper, in which zarr finds no groups.
        store = FsspecStore(fs, read_only=True, path=fs.path_of(dataset.path))
        return opener(store, **{**known, "consolidated": False})


def _mapper(fs: "SignedFileSystem", dataset: Dataset) -> "FSMap":
    return fs.get_mapper(fs.path_of(dataset.path))


def _zarr(dataset: Dataset) -> dict[str, Any]:
    return {
        "engine": "zarr",
        "consolidated": True,
        "zarr_format": 2 if dataset.format == "zarr2" else 3,
        "group": dataset.group or None,
    }


@contextmanager
def _naming_dimensions(dataset: Dataset) -> Iterator[None]:
    """Say what to do where xarray finds no names of dimensions; its own error is a `KeyError` about attributes."""
    try:
        yield
    except (KeyError, TypeError) as error:
        if not _NO_DIMENSIONS.search(str(error)):
            raise
        raise DatasetError(
            f"The arrays of {shown(dataset.path)} do not name their dimensions, which xarray needs: read them with "
            "zarr, as in zarr.open_group(result.store(path), mode='r')."
        ) from error


def _netcdf(fs: "SignedFileSystem", dataset: Dataset, options: Mapping[str, Any]) -> tuple[Any]:
    if options.get("engine", "h5netcdf") == "h5netcdf" and not (find_spec("h5netcdf") and find_spec("h5py")):
        raise ImportError(
            "A netCDF file needs h5netcdf and h5py: install the extra, with pip install 'wildcast[netcdf]'."
        )
    file = fs.open(fs.path_of(dataset.path))
    if "engine" not in options:
        _check_hdf5(file, dataset.path)
    return (file,)


def _check_hdf5(file: "SignedFile", path: str) -> None:
    """Hold that a file is not of one of netCDF's classic formats, which are older than HDF5."""
    if file.read(3) == b"CDF":
        file.close()
        raise DatasetError(
            f"{shown(path)} is netCDF of a classic format (3 or 5), which cannot be read by ranges: download it, with "
            "`Result.download` or `wildcast get`, and open the copy with scipy or netCDF4."
        )
    file.seek(0)


def _warn_of_small_chunks(variables: "Mapping[Any, xr.Variable]") -> None:
    for name, variable in variables.items():
        chunks = math.prod(len(sizes) for sizes in variable.chunks or ())
        size = variable.nbytes / max(chunks, 1)
        if chunks > _MANY_CHUNKS and size < _SMALL_CHUNK:
            warnings.warn(
                f"chunks={{}} makes each of the {chunks} chunks of {name!r}, of {size / 1e6:.2g} MB, a "
                "task of dask's, and so few are read at a time. Use chunks='auto', which puts many into one "
                "task, or chunks=None if it fits into memory.",
                SmallChunksWarning,
                stacklevel=4,
            )
            return
