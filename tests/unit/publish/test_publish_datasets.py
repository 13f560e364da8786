"""Finding and consolidating datasets, on stores that zarr and xarray wrote."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr
import zarr

from wildcast.contract.manifest import Dataset
from wildcast_server.errors import UnpublishableFileError
from wildcast_server.publish.datasets import find_datasets
from wildcast_server.publish.output import prepare
from wildcast_server.publish.scan import scan

Version = Literal[2, 3]

DATA = xr.Dataset({"t": (("time", "x"), np.arange(6.0).reshape(2, 3))}, {"time": [1, 2]})


def _write(path: Path, version: Version, *, group: str | None = None, consolidated: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        DATA.to_zarr(path, zarr_format=version, group=group, consolidated=consolidated)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("path", ["", "results.zarr", "deep/er/results.zarr"])
def test_a_store_is_found_and_consolidated(tmp_path: Path, version: Version, path: str):
    """A zarr group without consolidated metadata gets it, and xarray opens it with that."""
    _write(tmp_path / path, version)
    output = prepare(tmp_path)
    assert output.datasets == (Dataset(path=path, format=f"zarr{version}"),)
    with xr.open_zarr(tmp_path / path, consolidated=True) as opened:
        xr.testing.assert_identical(opened.load(), DATA)
    assert output.files == tuple(scan(tmp_path))


@pytest.mark.parametrize("version", [2, 3])
def test_consolidated_stores_are_left_alone(tmp_path: Path, version: Version):
    """A store that has its consolidated metadata is not written again."""
    _write(tmp_path / "s.zarr", version, consolidated=True)
    before = scan(tmp_path)
    assert prepare(tmp_path).files == tuple(before)


@pytest.mark.parametrize("version", [2, 3])
def test_the_group_with_the_variables_is_named(tmp_path: Path, version: Version):
    """Where the variables are in a group further down, the dataset says which."""
    _write(tmp_path / "s.zarr", version, group="model/run")
    (dataset,) = prepare(tmp_path).datasets
    assert (dataset.path, dataset.group) == ("s.zarr", "model/run")
    with xr.open_zarr(tmp_path / "s.zarr", group=dataset.group) as opened:
        assert "t" in opened


def test_only_the_topmost_store_counts(tmp_path: Path):
    """Groups within a store are no datasets of their own, nor is a netCDF file within one."""
    _write(tmp_path / "s.zarr", 3)
    _write(tmp_path / "s.zarr", 3, group="inner", consolidated=True)
    prepare(tmp_path)
    (tmp_path / "s.zarr/odd.nc").write_bytes(b"x")
    assert [dataset.path for dataset in prepare(tmp_path).datasets] == ["s.zarr"]


def test_several_datasets(tmp_path: Path):
    """Stores of both versions and netCDF files are listed in order of their paths."""
    _write(tmp_path / "b.zarr", 2)
    _write(tmp_path / "a/c.zarr", 3)
    (tmp_path / "d.nc").write_bytes(b"CDF")
    (tmp_path / "d.nc4").write_bytes(b"HDF")
    (tmp_path / "notes.txt").write_bytes(b"x")
    found = [(dataset.path, dataset.format) for dataset in prepare(tmp_path).datasets]
    assert found == [("a/c.zarr", "zarr3"), ("b.zarr", "zarr2"), ("d.nc", "netcdf"), ("d.nc4", "netcdf")]


@pytest.mark.parametrize("version", [2, 3])
def test_a_bare_array_is_no_dataset(tmp_path: Path, version: Version):
    """An array without a group cannot be opened by xarray, and is not announced; it is published all the same."""
    zarr.create_array(tmp_path / "a.zarr", shape=(2,), dtype="f8", zarr_format=version)
    output = prepare(tmp_path)
    assert output.datasets == ()
    assert output.files


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_broken_metadata_is_an_error(tmp_path: Path, text: str):
    """A store that no reader could open is not published."""
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr/zarr.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnpublishableFileError, match="no zarr metadata"):
        prepare(tmp_path)


def test_metadata_that_zarr_refuses_is_an_error(tmp_path: Path):
    """What cannot be consolidated is an error that names the store."""
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr/zarr.json").write_text(json.dumps({"zarr_format": 99, "node_type": "group"}))
    with pytest.raises(UnpublishableFileError, match=r"s\.zarr cannot be published: its zarr metadata"):
        prepare(tmp_path)


def test_no_datasets(directory: Callable[..., Path]):
    """A directory of other files has no dataset."""
    assert find_datasets(scan(directory({"a.txt": b"1"}))) == ()


def test_publishing_imports_nothing_heavy():
    """Publishing needs neither web framework nor database, and neither boto3 nor zarr before they are used."""
    code = (
        "import sys, wildcast_server.publish, wildcast_server.store\n"
        "heavy = {'fastapi', 'starlette', 'sqlalchemy', 'boto3', 'zarr', 'xarray', 'pydantic', 'uvicorn', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
