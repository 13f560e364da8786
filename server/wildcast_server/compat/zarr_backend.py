"""A zarr store with the methods of Earth2Studio's IO backends, for workflows that compute with NumPy alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

DEFAULT_CHUNKS = {"ensemble": 1, "time": 1, "lead_time": 1, "variable": 1}
"""Chunk length by dimension; other dimensions are not divided."""

Coords = Mapping[str, Any]
"""One-dimensional coordinates by dimension, in the order of the dimensions."""


class ZarrBackend:
    """Arrays along named dimensions in a zarr store (format 3); each array has the coordinates of its dimensions.

    Times and durations are stored as CF conventions 1.11 §4.4 says, so that any reader of zarr understands them;
    `coords` has them as NumPy's.

    Parameters
    ----------
    path
        Where the store is made.
    chunks
        Chunk length by dimension; also to be changed later, for arrays that are added after that.
    """

    takes_arrays = True
    """NumPy's arrays can be written; PyTorch's tensors too."""

    def __init__(self, path: Path | str, chunks: Mapping[str, int] | None = None) -> None:
        self.store = zarr.storage.LocalStore(path)
        self.root = zarr.create_group(self.store, zarr_format=3)
        self.chunks = dict(DEFAULT_CHUNKS if chunks is None else chunks)
        self.coords: dict[str, np.ndarray[Any, Any]] = {}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.root

    def __getitem__(self, name: str) -> Any:
        return self.root[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def add_array(self, coords: Coords, array_name: str | Sequence[str], data: Any = None, **options: Any) -> None:
        """Add arrays, and those of `coords` that are not there yet.

        Parameters
        ----------
        coords
            The arrays' dimensions. Of a dimension that is there already, its first coordinates stay.
        array_name
            One name, or several.
        data
            The content: an array for one name, as many as there are names for several. Without it an array is of
            32-bit floats, all NaN until they are written.
        **options
            For ``zarr.Group.create_array``, such as ``compressors`` or ``dtype``.

        Raises
        ------
        ValueError
            If a coordinate is not one-dimensional or has a value twice, or there are more or fewer contents than
            names.
        """
        for name, values in coords.items():
            self._add_coordinate(name, np.asarray(values))
        names = _as_list(array_name)
        contents = [None] * len(names) if data is None else _as_arrays(data, names)
        for name, content in zip(names, contents, strict=True):
            if name not in self.root:
                self._create(name, list(coords), content, options)

    def write(self, x: Any, coords: Coords, array_name: str | Sequence[str]) -> None:
        """Write what lies at `coords`; an array that is not there is added with them.

        Raises
        ------
        ValueError
            If a coordinate is not in the store, `coords` are not the array's dimensions in their order, a content has
            another shape, or there are more or fewer contents than names.
        """
        names = _as_list(array_name)
        shape = tuple(np.size(values) for values in coords.values())
        for name, content in zip(names, _as_arrays(x, names), strict=True):
            if name not in self.root:
                self.add_array(coords, name, dtype=content.dtype)
            _check_shape(name, content, shape)
            self[name].oindex[self._selection(coords, name)] = content

    def read(self, coords: Coords, array_name: str) -> tuple[np.ndarray[Any, Any], Coords]:
        """Return what lies at `coords`, and these; raises as `write`."""
        return self[array_name].oindex[self._selection(coords, array_name)], coords

    def _add_coordinate(self, name: str, values: np.ndarray[Any, Any]) -> None:
        if values.ndim != 1:
            raise ValueError(
                f"the coordinate {name!r} has {values.ndim} dimensions: only Earth2Studio's own backend takes such"
            )
        if name in self.coords:
            return
        if len(np.unique(values)) < len(values):
            raise ValueError(f"the coordinate {name!r} has a value twice: each place in the store needs its own")
        encoded, attributes = encode(values)
        self.coords[name] = values
        self._create(name, [name], encoded, {"chunks": (max(1, len(values)),), "attributes": attributes})

    def _create(
        self, name: str, dimensions: list[str], content: np.ndarray[Any, Any] | None, options: Mapping[str, Any]
    ) -> None:
        """Create an array of the given content, or an empty one; `options` are those of ``create_array``."""
        shape = tuple(len(self.coords[dimension]) for dimension in dimensions)
        if content is not None:
            _check_shape(name, content, shape)
        lengths = zip(dimensions, shape, strict=True)
        chunks = tuple(max(1, min(self.chunks.get(dimension, length), length)) for dimension, length in lengths)
        dtype = np.dtype(options.get("dtype", "float32" if content is None else content.dtype))
        given = {"chunks": chunks, **options, "dtype": str if dtype.kind == "U" else dtype}
        if dtype.kind == "f":
            given.setdefault("fill_value", np.nan)
        array = self.root.create_array(name, shape=shape, dimension_names=dimensions, **given)
        if content is not None:
            array[...] = content

    def _selection(self, coords: Coords, array_name: str) -> tuple[slice | np.ndarray[Any, Any], ...]:
        dimensions = self[array_name].metadata.dimension_names or ()
        if tuple(coords) != dimensions:
            raise ValueError(f"{array_name!r} has the dimensions {dimensions}, in this order, and not {tuple(coords)}")
        return tuple(self._positions(dimension, values) for dimension, values in coords.items())

    def _positions(self, dimension: str, values: Any) -> slice | np.ndarray[Any, Any]:
        """Return where `values` are in a dimension; a slice where they are consecutive, which is faster."""
        wanted = np.atleast_1d(np.asarray(values))
        stored = self.coords.get(dimension)
        if stored is None or not np.isin(wanted, stored).all():
            raise ValueError(f"not all of the coordinates {wanted} of {dimension!r} are in the store: add them first")
        order = np.argsort(stored)
        positions = order[np.searchsorted(stored, wanted, sorter=order)]
        if len(positions) and np.all(np.diff(positions) == 1):
            return slice(int(positions[0]), int(positions[-1]) + 1)
        return np.asarray(positions)


def _check_shape(name: str, content: np.ndarray[Any, Any], shape: tuple[int, ...]) -> None:
    if content.shape != shape:
        raise ValueError(f"{name!r} has the shape {content.shape}, where its coordinates have {shape}")


def encode(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return a coordinate as it is stored, and its attributes: times and durations are whole numbers with units."""
    if values.dtype.kind == "M":
        numbers, unit = _whole(values - np.datetime64(0, "s"))
        return numbers, {"units": f"{unit} since 1970-01-01", "calendar": "standard"}
    if values.dtype.kind == "m":
        numbers, unit = _whole(values)
        return numbers, {"units": unit, "dtype": "timedelta64[ns]"}
    return values, {}


def _whole(durations: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], str]:
    """Return durations as whole numbers of the largest of three units in which they are that."""
    for code, unit in (("h", "hours"), ("s", "seconds")):
        numbers = durations.astype(f"timedelta64[{code}]")
        if np.array_equal(numbers, durations):
            return numbers.astype("int64"), unit
    return durations.astype("timedelta64[ns]").astype("int64"), "nanoseconds"


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else [str(name) for name in names]


def _as_arrays(x: Any, names: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    values = x if isinstance(x, list | tuple) else [x]
    if len(values) != len(names):
        raise ValueError(f"there are {len(values)} contents for {len(names)} names ({', '.join(names)})")
    return [_as_array(value) for value in values]


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)
