"""Files and datasets of a result, from the command line."""

import importlib.util
import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from wildcast.cli import reading

PNG = b"\x89PNG\r\n\x1a\n"


def dataset(members: int = 1) -> xr.Dataset:
    values = np.arange(3 * members * 4 * 6, dtype="f4").reshape(3, members, 4, 6)
    return xr.Dataset(
        {
            "t2m": (("time", "member", "lat", "lon"), values, {"long_name": "air $temperature", "units": "K"}),
            "name": (("member",), np.array(["a"] * members)),
        },
        coords={
            "time": np.array(["2026-01-28T00", "2026-01-28T06", "2026-01-28T12"], "datetime64[ns]"),
            "lat": np.linspace(60, 30, 4),
            "lon": np.linspace(0, 50, 6),
        },
        attrs={"title": "a test", "missing": float("nan"), "count": np.int64(3)},
    )


def write(directory: Path) -> None:
    (directory / "sub dir" / "deep").mkdir(parents=True)
    (directory / "a.txt").write_text("text")
    (directory / "sub dir" / "b.bin").write_bytes(bytes(range(256)) * 10)
    (directory / "sub dir" / "deep" / "c#?.txt").write_text("c")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset(2).to_zarr(directory / "r.zarr", zarr_format=2, consolidated=True)


@pytest.fixture
def name(api) -> str:
    """An execution that has published files and a zarr store; its id."""
    return api.ended(1, write)


def test_files_are_listed(call, name):
    """Directories end with a slash; the names are paths that other commands take."""
    assert call("ls", name).lines == ["a.txt", "r.zarr/", "sub dir/"]
    assert call("ls", name, "sub dir").lines == ["sub dir/b.bin", "sub dir/deep/"]
    assert call("ls", name, "sub dir/", "-R").lines == ["sub dir/b.bin", "sub dir/deep/c#?.txt"]
    assert call("ls", name, "a.txt", "-l").lines == ["      4 B  a.txt"]
    assert call("ls", name, "-l").lines[2] == "        -  sub dir/"
    assert call("ls", name, f"{name}/a.txt").lines == ["a.txt"]


def test_programs_get_a_line_of_json_for_each_file(call, name):
    """With the size in bytes."""
    assert call("ls", name, "sub dir", "--json").json_lines == [
        {"path": "sub dir/b.bin", "type": "file", "size": 2560},
        {"path": "sub dir/deep", "type": "directory"},
    ]


def test_files_are_downloaded(call, name, tmp_path):
    """Where they are is printed; a pattern says which."""
    target = tmp_path / "down"
    done = call("get", name, "sub dir/**", "-o", target)
    assert sorted(done.lines) == [str(target / "sub dir" / "b.bin"), str(target / "sub dir" / "deep" / "c#?.txt")]
    assert (target / "sub dir" / "b.bin").read_bytes() == bytes(range(256)) * 10
    assert call("get", name, "a.txt", "--json").json_lines == [{"path": str(Path("a.txt").resolve())}]
    assert Path("a.txt").read_text() == "text"


def test_a_file_is_printed_as_it_is(call, name, monkeypatch):
    """Byte by byte, a small one at once and a large one in blocks."""
    assert call("cat", name, "sub dir/b.bin").out == bytes(range(256)) * 10
    assert call("cat", name, f"{name}/sub dir/deep/c#?.txt").out == b"c"
    monkeypatch.setattr(reading, "BLOCK", 1000)
    assert call("cat", name, "sub dir/b.bin").out == bytes(range(256)) * 10


@pytest.mark.parametrize("path", ["sub dir", "sub dir/deep/", "r.zarr", "", "/"])
def test_a_directory_is_not_printed(call, name, path):
    """It is no file, and the sentence names the commands for it."""
    done = call("cat", name, path)
    assert (done.code, done.out) == (3, b"")
    assert "is a directory: `wildcast ls`" in done.err
    assert "`wildcast get`" in done.err
    assert call("cat", name, path, "--json").error["kind"] == "MissingFileError"


@pytest.mark.parametrize("path", ["a//b", "../a.txt", "sub dir/./b.bin"])
def test_a_path_that_is_none_is_a_sentence(call, name, path):
    """There is no such file, and no traceback."""
    done = call("--json", "cat", name, path)
    assert (done.code, done.out, done.error["kind"]) == (3, b"", "MissingFileError")


def test_a_pattern_that_is_none_is_a_sentence(call, name):
    """It is a word of the command that is not as it has to be."""
    done = call("--json", "get", name, "a**")
    assert (done.code, done.error["kind"]) == (2, "InvalidPatternError")


def test_a_dataset_is_shown(call, name):
    """As xarray shows it, and as JSON with what programs want to know."""
    text = call("open", name).text
    assert "<xarray.Dataset>" in text
    assert "air" not in text
    described = call("open", name, "r", "--json").json
    assert described["dims"] == {"time": 3, "member": 2, "lat": 4, "lon": 6}
    assert described["data_vars"]["t2m"]["attrs"]["units"] == "K"
    assert described["attrs"] == {"title": "a test", "missing": None, "count": 3}


def test_a_dataset_that_is_none_is_a_sentence(call, api, name):
    """A group that is not there, and a file that is not what its name says."""
    done = call("open", name, "--group", "nothing")
    assert (done.code, "'nothing'" in done.err) == (3, True)
    other = api.ended(2, lambda directory: (directory / "a.nc").write_bytes(b"no netCDF at all"))
    done = call("--json", "open", other)
    assert (done.code, done.error["kind"]) == (7, "ReadError")


def test_a_server_that_signs_nothing_says_so(call, name):
    """Here the API itself serves the files; there is no URL to print."""
    done = call("--json", "url", name)
    assert done.code != 0
    assert done.error["error"]


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_variable_is_drawn(call, name):
    """In a file of its name; nothing else is printed but where it is."""
    done = call("plot", name, "t2m")
    assert (done.code, done.err, done.lines) == (0, "", ["t2m.png"])
    assert min(size_of(Path("t2m.png").read_bytes())) > 400
    done = call("plot", name, "t2m", "--sel", "time=2026-01-28T05", "--isel", "member=1", "-o", "x.png", "--json")
    assert done.json == {"path": "x.png"}
    assert size_of(call("plot", name, "lat", "-o", "-").out)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nothing"], 3),
        (["t2m", "--name", "nothing"], 3),
        (["name"], 2),
        (["t2m", "--isel", "time=3"], 2),
        (["t2m", "--isel", "level=0"], 2),
        (["t2m", "--sel", "time=noon"], 2),
        (["t2m", "--sel", "member=0"], 2),
        (["t2m", "--isel", "time=0", "--isel", "lat=0", "--isel", "lon=0", "--isel", "member=0"], 2),
    ],
)
def test_what_cannot_be_drawn_is_said(call, name, words, code):
    """And no file is written."""
    done = call("plot", name, *words)
    assert (done.code, done.out) == (code, b"")
    assert list(Path().iterdir()) == []


def test_without_matplotlib_one_sentence_says_what_to_install(call, name, monkeypatch):
    """Nothing is asked of the server before."""
    found = importlib.util.find_spec
    monkeypatch.setattr("wildcast.cli.quicklook.find_spec", lambda each: None if each == "matplotlib" else found(each))
    done = call("--json", "plot", name, "t2m")
    assert done.code == 1
    assert "pip install 'wildcast[plot]'" in json.loads(done.err)["error"]
