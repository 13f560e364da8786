"""One wrong answer while a hierarchy is opened and read: the right values or an exception, whatever was asked for."""

import warnings

import numpy as np
import pytest
import xarray as xr
from starlette.responses import Response

LONG = pytest.mark.long
FORMATS = [(2, True), pytest.param((2, False), marks=LONG), pytest.param((3, True), marks=LONG), (3, False)]
"""Format, and whether the metadata is consolidated. Two show all four values; the long tests have every pair."""

FAULTS = {
    "404": lambda: Response("no", 404),
    "refused": lambda: Response("no", 403),
    "empty": lambda: Response(b""),
    "another object": lambda: Response(b"{}"),
}


def source():
    root = xr.Dataset({"t": (("x", "y"), np.arange(1.0, 21).reshape(4, 5))}, {"x": range(4)}, {"title": "root"})
    child = xr.Dataset({"u": (("z",), np.arange(1, 7))}, attrs={"title": "child"})
    grandchild = xr.Dataset({"v": (("w",), np.arange(1.5, 4))})
    return xr.DataTree.from_dict({"/": root, "/g": child, "/g/h": grandchild})


def contents(tree):
    return {node.path: node.to_dataset(inherit=False).load() for node in tree.subtree}


def zarr_of(fs, **options):
    return xr.open_zarr(fs.get_mapper("r.zarr"), chunks=None, **options).load()


WAYS = {
    "as it comes": lambda fs: {"/": zarr_of(fs)},
    "unconsolidated": lambda fs: {"/": zarr_of(fs, consolidated=False)},
    "a nested group": lambda fs: {"/g/h": zarr_of(fs, group="g/h")},
    "the tree": lambda fs: contents(xr.open_datatree(fs.get_mapper("r.zarr"), engine="zarr", chunks=None)),
}


@pytest.fixture(params=FORMATS, ids=str)
def published(request, cdn, tmp_path):
    """A CDN with a published hierarchy, of each format, with consolidated metadata and without."""
    zarr_format, consolidated = request.param
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        source().to_zarr(tmp_path / "r.zarr", zarr_format=zarr_format, consolidated=consolidated)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    cdn.publish(**{path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files})
    return cdn


@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated metadata:RuntimeWarning")
@pytest.mark.parametrize("way", WAYS)
def test_no_wrong_answer_is_read_as_something_else(published, way):
    """Every object in turn is refused, lost or another: a group is not empty then, and no value a fill value."""
    expected = contents(source())

    def read():
        found = WAYS[way](published.fs())
        assert way != "the tree" or set(found) == set(expected)
        for path, dataset in found.items():
            xr.testing.assert_identical(dataset, expected[path])

    read()
    raised = 0
    for key in list(published.objects):
        for name, fault in FAULTS.items():
            published.fault = lambda path, _, key=key, fault=fault: fault() if path == key else None
            try:
                read()
            except AssertionError:
                pytest.fail(f"{name} for {key} was read as something else")
            except Exception:  # noqa: BLE001 - whatever says that it cannot be read
                raised += 1
    assert raised
