"""Find what xarray can open among the files of an output directory."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wildcast.contract.manifest import Dataset
from wildcast_server.errors import UnpublishableFileError
from wildcast_server.transfer.files import LocalFile

_MARKERS = frozenset({"zarr.json", ".zgroup", ".zarray", ".zmetadata"})
_NETCDF = (".nc", ".nc4")


def find_datasets(files: Sequence[LocalFile], streamed: Iterable[str] = ()) -> tuple[Dataset, ...]:
    """Return the topmost zarr groups and the netCDF files, in order of their paths.

    Parameters
    ----------
    files
        On disk, the documents of every zarr store among them.
    streamed
        Paths that are in the store alone.

    Raises
    ------
    UnpublishableFileError
        If a zarr store's metadata cannot be understood.
    """
    stores = find_stores(files)
    found = [store for top in stores if (store := _store(top, _below(files, top))) is not None]
    found += [
        Dataset(path=path, format="netcdf")
        for path in (*(file.path for file in files), *streamed)
        if path.endswith(_NETCDF) and not any(_is_below(path, top) for top in stores)
    ]
    return tuple(sorted(found, key=lambda dataset: dataset.path.encode()))


def find_stores(files: Iterable[LocalFile]) -> list[str]:
    """Return the paths of the topmost directories that hold zarr metadata; empty for the root."""
    marked: set[str] = set()
    for file in files:
        directory, _, name = file.path.rpartition("/")
        if name in _MARKERS:
            marked.add(directory)
    tops: set[str] = set()
    for directory in sorted(marked, key=_depth):
        if tops.isdisjoint(_ancestors(directory)):
            tops.add(directory)
    return sorted(tops)


def _depth(directory: str) -> int:
    return directory.count("/") + 1 if directory else 0


def _ancestors(directory: str) -> Iterable[str]:
    while directory:
        directory = directory.rpartition("/")[0]
        yield directory


def _is_below(path: str, directory: str) -> bool:
    return not directory or path.startswith(f"{directory}/")


def _below(files: Iterable[LocalFile], directory: str) -> dict[str, LocalFile]:
    """Return the metadata files below a directory by their paths relative to it."""
    start = len(directory) + 1 if directory else 0
    return {
        file.path[start:]: file
        for file in files
        if _is_below(file.path, directory) and file.path.rpartition("/")[2] in _MARKERS
    }


def _store(path: str, metadata: Mapping[str, LocalFile]) -> Dataset | None:
    """Describe one store, or return None for a bare array, which xarray cannot open."""
    is_v3 = "zarr.json" in metadata
    arrays = _arrays_v3(metadata) if is_v3 else _arrays_v2(metadata)
    if "" in arrays:
        return None
    return Dataset(path=path, format="zarr3" if is_v3 else "zarr2", group=_group_of(arrays))


def _arrays_v2(metadata: Mapping[str, LocalFile]) -> list[str]:
    return [split[0] for path in metadata if (split := path.rpartition("/"))[2] == ".zarray"]


def _arrays_v3(metadata: Mapping[str, LocalFile]) -> list[str]:
    return [
        split[0]
        for path, file in metadata.items()
        if (split := path.rpartition("/"))[2] == "zarr.json" and read_json(file.source).get("node_type") == "array"
    ]


def _group_of(arrays: Iterable[str]) -> str:
    """Return the group nearest to the root that has arrays of its own, the first by name of several."""
    groups = {array.rpartition("/")[0] for array in arrays}
    return min(groups, key=lambda group: (_depth(group), group), default="")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a metadata file.

    Raises
    ------
    UnpublishableFileError
        If there is none in it.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UnpublishableFileError(f"{path} cannot be published: it is no zarr metadata ({error})") from error
    if not isinstance(value, dict):
        raise UnpublishableFileError(f"{path} cannot be published: it is no zarr metadata")
    return value
