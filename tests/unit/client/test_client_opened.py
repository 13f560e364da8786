"""What a result offers beside its files: trees, ensembles, signatures, and how it looks in a notebook."""

import asyncio
import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import JSONResponse

import wildcast
from wildcast._result import AsyncResult
from wildcast.contract.naming import MANIFEST_PATH

ENDS = "2026-01-01T01:00:00Z"


def member(number):
    data = xr.Dataset({"t": ("x", np.arange(6.0) + number)}, {"x": np.arange(6)}, {"number": number, "kind": "m"})
    data["t"].encoding["chunks"] = (3,)  # Not by dask, which need not be there.
    return data


def write(directory, datasets, zarr_format=3):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        for name, data in datasets.items():
            if name.endswith(".nc"):
                data.to_netcdf(directory / name, engine="h5netcdf")
            else:
                data.to_zarr(directory / name, zarr_format=zarr_format)


@pytest.fixture
def publish(server, tmp_path):
    """Publish datasets by their names; gives the result."""

    def published(datasets, zarr_format=3):
        (tmp_path / "o").mkdir()
        write(tmp_path / "o", datasets, zarr_format)
        publish_files(server, tmp_path / "o")
        return server.result()

    return published


def publish_files(server, directory):
    files = [path for path in directory.rglob("*") if path.is_file()]
    server.cdn.publish(**{path.relative_to(directory).as_posix(): path.read_bytes() for path in files})


def metadata_requests(cdn):
    return [path for _, path, _ in cdn.requests if "/t/" not in path and "/x/" not in path]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_dataset_opens_in_two_requests(publish, server, zarr_format):
    """The manifest and the consolidated metadata are all that opening asks the CDN for."""
    result = publish({"m.zarr": member(0)}, zarr_format)
    opened = result.open_dataset(chunks=None, drop_variables=["x"])
    assert len(server.cdn.requests) == 2, server.cdn.requests
    assert set(metadata_requests(server.cdn)) == {
        MANIFEST_PATH,
        "m.zarr/zarr.json" if zarr_format == 3 else "m.zarr/.zmetadata",
    }
    np.testing.assert_array_equal(opened["t"], np.arange(6.0))


def test_a_netcdf_file_opens_in_two_requests(publish, server):
    """The manifest, and a block that has all of a small file's metadata."""
    publish({"m.nc": member(0)}).open_dataset()
    assert len(server.cdn.requests) == 2


@pytest.mark.parametrize("version", [1, 2, 5])
@pytest.mark.parametrize("opened", ["open_dataset", "open_datatree"])
def test_a_classic_netcdf_file_is_named(server, version, opened):
    """It is none of HDF5's, and the sentence says what reads it."""
    server.cdn.publish(**{"m.nc": b"CDF" + bytes([version]) + bytes(100)})
    with pytest.raises(wildcast.DatasetError, match=r"classic .* scipy or netCDF4"):
        getattr(server.result(), opened)()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("opened", ["open_dataset", "open_datatree"])
def test_a_store_without_consolidated_metadata_opens(server, tmp_path, zarr_format, opened):
    """As one that is still being written; no warning says what was tried first."""
    member(0).to_zarr(tmp_path / "m.zarr", zarr_format=zarr_format, consolidated=False)
    publish_files(server, tmp_path)
    data = getattr(server.result(), opened)(chunks=None)
    np.testing.assert_array_equal(data["t"], np.arange(6.0))


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("opened", ["open_dataset", "open_datatree"])
def test_a_store_without_names_of_dimensions_is_for_zarr(server, tmp_path, zarr_format, opened):
    """As zarr writes it where nobody says more; the sentence says how to read it, and so it is read."""
    group = zarr.open_group(tmp_path / "m.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("t", shape=(3,), dtype="f4")[:] = [1, 2, 3]
    zarr.consolidate_metadata(tmp_path / "m.zarr")
    publish_files(server, tmp_path)
    result = server.result()
    with pytest.raises(wildcast.DatasetError, match=r"'m\.zarr' do not name their dimensions.*result\.store\(path\)"):
        getattr(result, opened)()
    assert zarr.open_group(result.store("m.zarr"), mode="r")["t"][:].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["m.zarr", "m.nc"])
def test_dask_knows_a_dataset_again(publish, server, name):
    """Its tasks have the same names after something was read, after a renewal, and when it is opened again."""
    pytest.importorskip("dask")
    names, result = set(), publish({name: member(0)})
    for each in (result, result, server.result()):
        opened = each.open_dataset(chunks={"x": 3})
        names.add(opened["t"].data.name)
        opened["t"].load()
        each._source.renew(each._source.current())
    assert len(names) == 1


@pytest.mark.parametrize("name", ["tree.zarr", "tree.nc"])
def test_a_tree_opens_with_all_groups(publish, name):
    """Groups come with their own variables, from zarr and from netCDF."""
    tree = xr.DataTree.from_dict({"/": member(0), "/a/b": xr.Dataset({"u": ("y", np.arange(3))})})
    result = publish({name: tree})
    with result.open_datatree() as opened:
        xr.testing.assert_identical(opened.load(), tree)


def test_several_datasets_open_at_once(publish):
    """Each comes by its path, or those that are named."""
    result = publish({f"m{number}.zarr": member(number) for number in range(3)} | {"m3.nc": member(3)})
    opened = result.open_datasets()
    assert sorted(opened) == ["m0.zarr", "m1.zarr", "m2.zarr", "m3.nc"]
    assert [int(data["t"][0]) for _, data in sorted(opened.items())] == [0, 1, 2, 3]
    assert list(result.open_datasets(["m2", "m0.zarr"])) == ["m2.zarr", "m0.zarr"]


def test_a_dataset_that_cannot_be_opened_is_an_error_of_all(publish, server):
    """No ensemble is silently one member smaller."""
    result = publish({f"m{number}.zarr": member(number) for number in range(3)})
    del server.cdn.objects["m1.zarr/zarr.json"]
    with pytest.raises(wildcast.LostObjectError):
        result.open_datasets()


def test_an_ensemble_is_one_dataset(publish, server):
    """Members lie along a new dimension with their names, and their values are read when they are used."""
    pytest.importorskip("dask")
    result = publish({f"m{number}.zarr": member(number) for number in range(3)})
    ensemble = result.open_ensemble(dim="run")
    assert not any("/t/" in path for _, path, _ in server.cdn.requests)
    assert ensemble["t"].dims == ("run", "x")
    assert list(ensemble["run"].to_numpy()) == ["m0", "m1", "m2"]
    np.testing.assert_array_equal(ensemble["t"].sel(run="m2"), np.arange(6.0) + 2)
    assert ensemble.attrs == {"kind": "m"}


def test_members_of_different_grids_are_no_ensemble(publish):
    """Coordinates that differ are an error, and not filled up."""
    pytest.importorskip("dask")
    result = publish({"a.zarr": member(0), "b.zarr": member(1).assign_coords(x=np.arange(6) + 1)})
    with pytest.raises(ValueError, match="align"):
        result.open_ensemble()


def shaped(number, **changes):
    """A member with coordinates of every kind; `changes` make it one of another form."""
    data = member(number).assign(u=("x", np.arange(6.0) * 2, {"units": "K"}))
    coords = {
        "init": np.datetime64("2026-01-01", "ns") + number,
        "lat": ("x", np.arange(6.0)),
        "name": f"m{'x' * number}",
    }
    return data.assign_coords(coords).assign(changes)


def test_coordinates_that_differ_are_kept_of_each_member(publish):
    """Those that do not stay as they are; none of them is taken for all."""
    pytest.importorskip("dask")
    second = shaped(1).assign_coords(lat2=("x", np.arange(6.0)))
    first = shaped(0).assign_coords(lat2=("x", np.ones(6)))
    ensemble = publish({"a.zarr": first, "b.zarr": second}, zarr_format=2).open_ensemble()
    assert ensemble["init"].dims == ("member",)
    np.testing.assert_array_equal(ensemble["init"], np.datetime64("2026-01-01", "ns") + np.arange(2))
    assert ensemble["name"].to_numpy().tolist() == ["m", "mx"]
    np.testing.assert_array_equal(ensemble["lat2"].sel(member="b"), np.arange(6.0))
    assert ensemble["lat"].dims == ("x",)
    assert ensemble["u"].attrs["units"] == "K"


OTHER_FORMS = {
    "a variable less": (lambda data: data.drop_vars("u"), "variables: u "),
    "a variable more": (lambda data: data.assign(v=data["u"]), "variables: v "),
    "a coordinate less": (lambda data: data.drop_vars("lat"), "coordinates: lat "),
    "a coordinate in a variable's place": (lambda data: data.set_coords("u"), "variables: u "),
    "another type": (lambda data: data.assign(u=data["u"].astype("f4")), "'u' has other types .* float64 and float32"),
    "another unit": (
        lambda data: data.assign(u=data["u"].assign_attrs(units="degC")),
        "'u' has other units .* K and degC",
    ),
    "no unit": (lambda data: data.assign(u=data["u"].drop_attrs()), "'u' has other units"),
    "another unit of a coordinate": (
        lambda data: data.assign_coords(x=data["x"].assign_attrs(units="m")),
        "'x' has other units",
    ),
    "other dimensions": (lambda data: data.assign(u=data["u"].expand_dims("z")), "'u' has other dimensions"),
    "other indexes": (lambda data: data.assign_coords(x=np.arange(6) + 1), "align"),
    "fewer": (lambda data: data.isel(x=slice(3)), "align"),
    "the new dimension": (lambda data: data.assign(member=7), "'b.zarr' has 'member' already"),
}


@pytest.mark.parametrize("case", OTHER_FORMS)
def test_what_is_of_another_form_is_no_member(publish, case):
    """Nothing is filled up, converted, dropped or taken from another member: the error says what differs."""
    pytest.importorskip("dask")
    change, sentence = OTHER_FORMS[case]
    result = publish({"a.zarr": shaped(0), "b.zarr": change(shaped(1))}, zarr_format=2)
    with pytest.raises(ValueError, match=sentence):
        result.open_ensemble()


def test_an_ensemble_of_nothing_is_an_error(publish):
    """A result without datasets says so."""
    pytest.importorskip("dask")
    with pytest.raises(wildcast.DatasetError, match="neither"):
        publish({}).open_ensemble()


def test_many_small_chunks_are_warned_of_once(publish):
    """The warning names the variable and what to do instead; what it advises warns no more."""
    pytest.importorskip("dask")
    data = xr.Dataset({"t": ("x", np.arange(500.0)), "u": ("x", np.arange(500.0))}).chunk({"x": 1})
    result = publish({"m.zarr": data})
    with pytest.warns(wildcast.SmallChunksWarning, match=r"500 chunks of 't'.*chunks='auto'") as caught:
        result.open_dataset(chunks={})
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for chunks in ("auto", None):
        result.open_dataset(chunks=chunks)


@pytest.mark.parametrize("name", ["m.zarr", "m.nc"])
def test_many_small_chunks_of_a_tree_are_warned_of_once(publish, name):
    """Also where they lie in a group, which the warning names."""
    pytest.importorskip("dask")
    data = xr.Dataset({"t": ("y", np.arange(500.0)), "u": ("y", np.arange(500.0))})
    data = data.chunk({"y": 1}) if name == "m.zarr" else data
    for variable in data.variables.values():
        variable.encoding = {"chunksizes": (1,)} if name == "m.nc" else {}
    result = publish({name: xr.DataTree.from_dict({"/": member(0), "/a": data})})
    with pytest.warns(wildcast.SmallChunksWarning, match=r"500 chunks of '/a/t'.*chunks='auto'") as caught:
        result.open_datatree(chunks={}).close()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    result.open_datatree(chunks="auto").close()


def test_large_or_few_chunks_are_not_warned_of(publish):
    """Chunks as they should be make no noise."""
    pytest.importorskip("dask")
    publish({"m.zarr": member(0)}).open_dataset(chunks={})


def test_signatures_are_asked_for(server):
    """A URL for a part, with an end and an address, and cookies, come from the API."""
    asked = []

    async def handle(request):
        if not request.url.path.endswith("/sign"):
            return server.of_execution(request.url.path.removeprefix("/v1/infer/"), request)
        asked.append(json.loads(await request.body()))
        kind = asked[-1]["kind"]
        return JSONResponse(
            {"cookies": {"a": "b"}} | {kind: {"a": "b"} if kind == "cookies" else "u", "expires_at": ENDS}
        )

    result = server.result()
    server.handle = handle
    assert result.sign(f"{server.id}/a.nc", expires_in=60, ip="192.0.2.1") == "u"
    assert result.cookies(expires_in=60) == {"a": "b"}
    assert asked == [
        {"path": "a.nc", "expires_in": 60, "ip": "192.0.2.1", "kind": "url"},
        {"expires_in": 60, "kind": "cookies"},
    ]
    assert [result.sign(path) for path in ("", "/", server.id)] == ["u"] * 3
    assert asked[2:] == [{"kind": "url"}] * 3


def test_a_server_that_signs_nothing_still_gives_a_files_url(server):
    """Earth2Studio's own server has the wildcard URL alone, which covers each file."""
    server.cdn.publish(**{"a b.nc": b"12"})
    result = server.result()
    server.override = lambda request: (
        JSONResponse({"detail": "Not Found"}, 404) if "/sign" in request.url.path else None
    )
    base, _, query = result.signed_url.partition("/*?")
    assert result.sign("a b.nc") == f"{base}/a%20b.nc?{query}"
    with pytest.raises(wildcast.UnsupportedError):
        result.sign("a b.nc", expires_in=5)


def test_a_notebook_shows_a_result_without_secrets_and_without_asking(server):
    """Names are escaped, the signature is not shown, and nobody is asked."""
    server.cdn.publish(**{"<b>.zarr/zarr.json": b"{}", "a.nc": b"x" * 1500})
    result = server.result()
    before = len(server.paths)
    text = result._repr_html_()
    assert "&lt;b&gt;.zarr (zarr3)" in text
    assert "<b>.zarr" not in text
    assert "1.5 kB" in text
    assert server.cdn.signature not in text
    assert (len(server.paths), server.cdn.requests) == (before, [])


def test_an_async_result_has_the_same(publish, server):
    """Those who await open datasets without blocking their loop."""
    pytest.importorskip("dask")
    result = publish({f"m{number}.zarr": member(number) for number in range(2)})
    awaited = AsyncResult(result._api, "wf", result.metadata)

    async def main():
        opened = await awaited.open_dataset("m1")
        every = await awaited.open_datasets()
        together = await awaited.open_ensemble()
        tree = await awaited.open_datatree("m0")
        return opened, every, together, tree

    opened, every, together, tree = asyncio.run(main())
    assert float(opened["t"][0]) == 1
    assert sorted(every) == ["m0.zarr", "m1.zarr"]
    assert together.sizes["member"] == 2
    assert float(tree["t"][0]) == 0
    assert awaited.paths == result.paths
    assert server.cdn.signature not in repr(awaited)


def test_names_are_a_list_and_each_is_named_once(publish):
    """A text is none, and of a name that comes twice nobody would see the second."""
    result = publish({"m.zarr": member(0)})
    with pytest.raises(TypeError, match=r"names are a list, such as \['m\.zarr'\]"):
        result.open_datasets("m.zarr")
    with pytest.raises(wildcast.DatasetError, match=r"'m\.zarr' is named twice"):
        result.open_datasets(["m", "m.zarr"])
