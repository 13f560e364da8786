"""What there is, told by the manifest where there is one, and by what was read before where there is none."""

import pickle

import pytest
from starlette.responses import Response

import wildcast
from wildcast._api import listed_files
from wildcast._retry import parse_retry_after
from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import OutputFile, ResultMetadata

META, CHUNK = "r.zarr/zarr.json", "r.zarr/c/0"


def gone(_path, _request):
    return Response("404 page not found", 404)


@pytest.fixture
def opened(cdn):
    """A filesystem of a prefix without manifest whose metadata was read, and its CDN."""
    cdn.objects[META] = b"{}"
    fs = cdn.fs()
    assert fs.cat_file(META) == b"{}"
    return fs, cdn


@pytest.mark.parametrize("pickled", [False, True])
def test_a_prefix_of_which_everything_is_gone_has_no_gaps(opened, pickled):
    """Where even what was read before answers 404, the manifest too, a chunk is lost and not "never written"."""
    fs, cdn = opened
    fs = pickle.loads(pickle.dumps(fs)) if pickled else fs  # noqa: S301 - our own bytes
    cdn.fault = gone
    for _ in range(2):
        with pytest.raises(wildcast.LostObjectError, match="had files and has none now"):
            fs.cat_file(CHUNK)


def test_a_prefix_that_comes_back_is_read_on(opened):
    """What was said while everything was gone is forgotten: its manifest counts again."""
    fs, cdn = opened
    cdn.publish(**{CHUNK: b"data"})
    cdn.fault = gone
    with pytest.raises(wildcast.LostObjectError):
        fs.cat_file(CHUNK)
    cdn.fault = None
    del cdn.objects[CHUNK]
    with pytest.raises(wildcast.LostObjectError, match="is part of this publication"):
        fs.cat_file(CHUNK)


@pytest.mark.parametrize("content", [b"{}", b""])
def test_a_gap_in_a_prefix_without_manifest_is_a_gap(cdn, content):
    """A file that was never written is missing, as long as what was read before is there."""
    cdn.objects["first"] = content
    fs = cdn.fs()
    fs.cat_file("first")
    for name in ("a", "b"):
        with pytest.raises(wildcast.MissingFileError):
            fs.cat_file(name)


def test_many_gaps_are_not_asked_about_one_by_one(opened):
    """Readers that miss files at the same time share the look at what was read before; one gap is warned of."""
    fs, cdn = opened
    missing = [f"r.zarr/c/{number}" for number in range(1, 41)]
    with pytest.warns(wildcast.UnlistedWarning, match="reads as never written") as caught:
        found = fs.cat(missing, on_error="return")
    assert len(caught) == 1
    assert {type(error) for error in found.values()} == {wildcast.MissingFileError}
    assert cdn.asked(MANIFEST_PATH) == 1
    assert cdn.asked(META) < 10


def test_the_first_file_is_held_to_the_manifest(cdn):
    """A stale copy is an error from the first read on, each time."""
    cdn.publish(**{META: b'{"node_type": "group"}'})
    cdn.fault = lambda path, _: Response(b"{}") if path == META else None
    fs = cdn.fs()
    for _ in range(2):
        with pytest.raises(wildcast.StaleObjectError, match="manifest"):
            fs.cat_file(META)


def test_a_file_beside_the_publication_is_not_part_of_it(cdn):
    """What the manifest lacks is not asked for."""
    cdn.publish(**{"a.bin": b"a"})
    cdn.objects["README"] = b"beside"
    fs = cdn.fs()
    with pytest.raises(wildcast.MissingFileError):
        fs.cat_file("README")
    assert cdn.asked("README") == 0
    assert fs.ls("", detail=False) == ["a.bin"]


@pytest.mark.parametrize("bounds", [(-5, -2), (0, -1), (5, 5), (3, 2)])
def test_a_part_of_a_directory_is_missing(cdn, bounds):
    """A directory has no bytes, not even none."""
    cdn.publish(**{"d/a.bin": b"data"})
    with pytest.raises(FileNotFoundError, match="directory"):
        cdn.fs().cat_file("d", *bounds)


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("bounds", [(5, 5), (3, 2), (0, 0)])
def test_an_empty_part_of_nothing_is_missing(cdn, is_listed, bounds):
    """Only of a file that is there a part can be empty."""
    cdn.objects["a.bin"] = b"data"
    if is_listed:
        cdn.write_manifest()
    fs = cdn.fs()
    assert fs.cat_file("a.bin", *bounds) == b""
    with pytest.raises(wildcast.MissingFileError):
        fs.cat_file("nothing", *bounds)


@pytest.mark.parametrize(
    ("path", "files"), [("exec_1_00000001/a", {"a": 1}), ("exec_1_00000001-2/a", None), ("a", None)]
)
def test_a_list_of_another_form_is_no_list(path, files):
    """Paths that do not begin with the execution are not taken for the files: all else would read as never written."""
    metadata = ResultMetadata(
        request_id="exec_1_00000001",
        status=ExecutionStatus.COMPLETED,
        completion_time=None,
        execution_time_seconds=None,
        workflow_name=None,
        created_at=None,
        parameters={},
        storage_type="s3",
        remote_path=None,
        signed_url=None,
        output_files=(OutputFile(path, 1),),
    )
    assert listed_files(metadata) == files


@pytest.mark.parametrize(
    "value",
    ["soon", "", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +9999999999999999"],
)
def test_a_retry_after_that_is_none_is_ignored(value):
    """Junk in the header costs no more than the header."""
    assert parse_retry_after(value) is None


@pytest.mark.parametrize("name", ["\N{CJK UNIFIED IDEOGRAPH-65E5}" * 85, "a" * 255])
def test_the_longest_name_is_downloaded(cdn, tmp_path, name):
    """A name of 255 bytes leaves no room for an ending, so the partial file has a shorter one."""
    cdn.objects[name] = b"data"
    cdn.fs().get_file(name, str(tmp_path / name))
    assert (tmp_path / name).read_bytes() == b"data"
    assert len(list(tmp_path.iterdir())) == 1
