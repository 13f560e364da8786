"""What a workflow streams where there is no object store: beside its target, then renamed."""

import io
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr

from wildcast_server import RunContext
from wildcast_server.domain.sink import DirectorySink
from wildcast_server.errors import WorkflowFailedError


@pytest.fixture
def context(tmp_path):
    return RunContext("exec_0_00000000", tmp_path)


def files(directory):
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_a_file_is_there_when_it_is_closed(context, tmp_path):
    """Until then only a partial name shows, directories are made, and the bytes are those that were written."""
    with context.open("fields/t2m.bin") as file:
        assert (file.write(b"abc"), file.write(np.arange(2, dtype="<i4")), file.tell()) == (3, 8, 11)
        file.flush()
        assert not (tmp_path / "fields/t2m.bin").exists()
    assert file.closed
    assert (tmp_path / "fields/t2m.bin").read_bytes() == b"abc\0\0\0\0\1\0\0\0"
    assert files(tmp_path) == ["t2m.bin"]


def test_an_exception_leaves_nothing(context, tmp_path):
    """What was half written is no file, and the exception goes on."""
    with pytest.raises(TypeError), context.open("a") as file:
        file.writelines([b"x", "no bytes"])
    assert file.closed
    assert files(tmp_path) == []


def test_a_file_that_is_forgotten_is_no_file(tmp_path):
    """A workflow that ends without closing fails by the file's name."""
    sink = DirectorySink(tmp_path)
    RunContext("e", tmp_path, sink=sink).open("a.nc").write(b"x")
    with pytest.raises(WorkflowFailedError, match=r"a\.nc was opened with context\.open and never closed"):
        sink.finish()
    assert files(tmp_path) == []
    with pytest.raises(RuntimeError, match="the run has ended"):
        sink.open("b")
    with pytest.raises(RuntimeError, match="the run has ended"):
        sink.zarr_store("b.zarr")


def test_a_second_file_of_that_name_replaces_the_first(context, tmp_path):
    """As with any file; unless that is forbidden, and then the first one stays."""
    for text in (b"first", b"second"):
        with context.open("a") as file:
            file.write(text)
    with pytest.raises(FileExistsError, match="if_absent=True"):
        context.open("a", if_absent=True)
    assert (tmp_path / "a").read_bytes() == b"second"
    assert files(tmp_path) == ["a"]


def test_closing_looks_again_whether_there_is_one(context, tmp_path):
    """What appeared in the meantime is left as it is, and nothing of ours stays."""
    file = context.open("a", if_absent=True)
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        file.close()
    assert file.closed
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert files(tmp_path) == ["a"]


def test_one_name_has_one_writer(context):
    """Two that write the same file would mix it."""
    with context.open("a"), pytest.raises(FileExistsError, match="is being written already"):
        context.open("a")
    context.open("a").close()


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a//b", "a\nb", ".wildcast/manifest.json.gz", "sub/.wildcast/x"]
)
@pytest.mark.parametrize("method", ["open", "zarr_store"])
def test_names_outside_the_output_are_refused(context, tmp_path, name, method):
    """The error says what to do instead."""
    with pytest.raises(ValueError, match=r"give a path relative to the output directory|choose a name without"):
        getattr(context, method)(name)
    assert files(tmp_path) == []


@pytest.mark.parametrize("mode", ["rb", "w", "ab", "r+b"])
def test_other_modes_are_refused(context, mode):
    """A stream goes one way."""
    with pytest.raises(ValueError, match="the mode must be 'wb'"):
        context.open("a", mode)


def test_a_negative_length_is_refused(context):
    """A hint that is no length is a mistake."""
    with pytest.raises(ValueError, match="size_hint is -1"):
        context.open("a", size_hint=-1)


def test_it_is_a_file_to_other_code(context, tmp_path):
    """Text wrappers and archives write to it; seeking and reading are refused as unsupported."""
    with context.open("text") as file:
        text = io.TextIOWrapper(file, encoding="utf-8")
        text.write("Grüße")
        text.close()
    with context.open("zip") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "b")
    with context.open("npy") as file:
        np.save(file, np.arange(3))
        assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    assert (tmp_path / "text").read_text(encoding="utf-8") == "Grüße"
    assert zipfile.ZipFile(tmp_path / "zip").read("a") == b"b"
    assert np.load(tmp_path / "npy").tolist() == [0, 1, 2]


def test_a_closed_file_takes_nothing(context):
    """Writing, flushing and the like say so; closing once more does nothing."""
    file = context.open("a")
    file.close()
    file.close()
    file.abort()
    with pytest.raises(ValueError, match="a is closed"):
        file.write(b"x")
    with pytest.raises(ValueError, match="a is closed"):
        file.flush()


def test_what_has_to_seek_is_told_what_to_do(context, tmp_path):
    """As HDF5 has to: the message names the file and both ways out, of which one is shown to work."""
    dataset = xr.Dataset({"t": ("x", [1.0, 2.0])})
    told = r"a\.nc is streamed .* into memory .* context\.output_directory"
    with pytest.raises(io.UnsupportedOperation, match=told), context.open("a.nc") as file:
        dataset.to_netcdf(file, engine="h5netcdf")
    with context.open("a.nc") as file:
        file.write(dataset.to_netcdf())
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "a.nc"), dataset)


def test_dropping_an_open_file_makes_none(tmp_path):
    """The collector must not turn a part into a whole file."""
    from wildcast_server.domain.sink import _LocalFile

    file = _LocalFile("a", tmp_path / "a", lambda _path: None, if_absent=False)
    file.write(b"x")
    del file
    assert files(tmp_path) == []


def test_a_zarr_store_is_in_the_output_directory(context, tmp_path):
    """Without an object store it is zarr's own store of files."""
    array = zarr.create_array(context.zarr_store("a.zarr"), shape=4, chunks=2, dtype="i4")
    array[:] = 7
    assert zarr.open_array(tmp_path / "a.zarr")[:].tolist() == [7] * 4


def test_a_file_that_is_begun_as_the_run_ends_is_aborted(tmp_path):
    """A thread that the workflow left behind slips nothing in."""
    from wildcast_server.domain.sink import OpenFiles, _LocalFile

    open_files = OpenFiles()

    def make(on_end):
        open_files.abort()
        return _LocalFile("a", tmp_path / "a", on_end, if_absent=False)

    with pytest.raises(RuntimeError, match="the run has ended"):
        open_files.add("a", make)
    assert files(tmp_path) == []
