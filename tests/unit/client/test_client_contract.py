"""What fsspec promises of a filesystem and a mapping: names that look like patterns, directories, nothing at all."""

import io
import pickle

import pytest
from starlette.responses import Response

import wildcast
from wildcast.contract.naming import MANIFEST_PATH

FILES = {
    "a.txt": b"AAAA",
    "d/x.nc": b"xx",
    "d/y?z.nc": b"qq",
    "d/yXz.nc": b"XX",
    "b[1].nc": b"bb",
    "b1.nc": b"b1",
    "s.zarr/x[1]/0": b"x1",
    "s.zarr/*/0": b"star",
    "s.zarr/v/0": b"v0",
}


@pytest.fixture
def fs(cdn):
    """A filesystem of `FILES`."""
    cdn.publish(**FILES)
    return cdn.fs()


@pytest.mark.parametrize("name", FILES)
def test_a_name_that_is_there_is_no_pattern(fs, cdn, name, tmp_path):
    """Read, mapped or copied, alone or among others: the file of that name, and nothing else."""
    assert fs.cat(name) == FILES[name]
    assert fs.cat([name, "a.txt"]) == {name: FILES[name], "a.txt": b"AAAA"}
    mapper = wildcast.create_cloudfront_mapper(cdn.signed())
    assert mapper[name] == FILES[name]
    assert mapper.getitems([name]) == {name: FILES[name]}
    fs.get(name, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == FILES[name]
    (tmp_path / "below").mkdir()
    fs.get(name, str(tmp_path / "below"))
    assert (tmp_path / "below" / name.rpartition("/")[2]).read_bytes() == FILES[name]


def test_a_directory_that_is_there_is_no_pattern(fs, tmp_path):
    """All below it is copied, and nothing of those that it would match."""
    fs.get("s.zarr/*", str(tmp_path / "copy"), recursive=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {"0": b"star"}


def test_other_names_are_patterns(fs, tmp_path):
    """What is not there as it is written finds what it matches; a pattern that finds nothing is a missing file."""
    assert fs.cat("d/*.nc") == {name: body for name, body in FILES.items() if name.startswith("d/")}
    assert fs.cat(["b[1].nc", "d/x*"]) == {"b[1].nc": b"bb", "d/x.nc": b"xx"}
    assert fs.glob("b[1].nc") == ["b1.nc"]
    fs.get("d/x*", str(tmp_path))
    assert (tmp_path / "x.nc").read_bytes() == b"xx"
    with pytest.raises(wildcast.MissingFileError):
        fs.cat("nope*")


@pytest.mark.parametrize("name", ["y?z.nc", "b[1]"])
def test_a_name_that_is_there_is_no_pattern_without_manifest(cdn, name):
    """The store is asked for the name itself; a pattern that nothing can expand is an error."""
    cdn.objects[name] = b"1"
    assert cdn.fs().cat(name) == b"1"
    with pytest.raises(wildcast.NoListingError):
        cdn.fs().cat("nope*")


def test_a_whole_result_is_copied(fs, tmp_path):
    """By its own name, which is empty."""
    fs.get("", str(tmp_path / "copy"), recursive=True)
    found = {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_bytes()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }
    assert found == FILES


@pytest.mark.parametrize("name", ["d", "s.zarr/v", ""])
@pytest.mark.parametrize("way", ["open", "cat_file", "cat", "head"])
def test_a_directory_is_no_file(fs, name, way):
    """Reading one says that it is a directory."""
    with pytest.raises(wildcast.NotAFileError, match="is a directory") as caught:
        getattr(fs, way)(name)
    assert isinstance(caught.value, IsADirectoryError)


def test_nothing_is_found_where_nothing_is(fs):
    """What the manifest does not have is not there, and no error; reading it is a missing file."""
    for pattern in ("nope/*", "nope", "d/nope/*.nc", "**/nope", "a//b"):
        assert fs.glob(pattern) == []
    assert (fs.find("nope"), fs.find("nope", maxdepth=1), fs.find("a//b", withdirs=True)) == ([], [], [])
    for name in ("nope", "d/nope", "a//b", "../a.txt", "d/./x.nc", "a\nb"):
        assert (fs.exists(name), fs.isfile(name), fs.isdir(name)) == (False, False, False)
        for ask in (fs.info, fs.cat_file, fs.open, fs.ls):
            with pytest.raises(wildcast.MissingFileError):
                ask(name)


@pytest.mark.parametrize("pattern", ["a**", "**b/x"])
def test_a_pattern_that_is_none_is_an_error_of_ours(fs, server, pattern):
    """In a glob and in a download, with what is wrong."""
    server.cdn.publish(**FILES)
    result = server.result()
    for ask in (fs.glob, lambda text: result.download("unused", text)):
        with pytest.raises(wildcast.InvalidPatternError, match="is no pattern"):
            ask(pattern)


@pytest.mark.parametrize("ask", ["exists", "isdir", "glob", "info", "du", "find", "ls"])
def test_nothing_is_said_about_what_nobody_knows(cdn, ask):
    """Without a manifest a directory is never "not there", nor empty."""
    cdn.objects["s.zarr/x"] = b"1"
    with pytest.raises(wildcast.NoListingError):
        getattr(cdn.fs(), ask)("s.zarr")


def test_files_are_known_without_a_manifest(cdn):
    """Each by its name, and whether a file is missing as well."""
    cdn.objects["s.zarr/x"] = b"12"
    fs = cdn.fs()
    assert (fs.exists("s.zarr/x"), fs.isfile("s.zarr/x"), fs.isdir("s.zarr/x")) == (True, True, False)
    assert (fs.glob("s.zarr/x"), fs.size("s.zarr/x"), fs.isfile("nope")) == (["s.zarr/x"], 2, False)
    for ask in (fs.open, fs.cat_file, fs.cat):
        with pytest.raises(wildcast.MissingFileError):
            ask("nope")


WRITES = {
    "mkdir": lambda fs: fs.mkdir("new"),
    "makedirs": lambda fs: fs.makedirs("new/er", exist_ok=True),
    "rmdir": lambda fs: fs.rmdir("d"),
    "rm": lambda fs: fs.rm("d", recursive=True),
    "rm_file": lambda fs: fs.rm_file("a.txt"),
    "mv": lambda fs: fs.mv("a.txt", "b.txt"),
    "copy": lambda fs: fs.copy("a.txt", "b.txt"),
    "touch": lambda fs: fs.touch("new"),
    "pipe": lambda fs: fs.pipe("new", b"1"),
    "put": lambda fs: fs.put(__file__, "new"),
    "open": lambda fs: fs.open("new", "wb"),
    "a mapping": lambda fs: fs.get_mapper("s.zarr").update(new=b"1"),
}


@pytest.mark.parametrize("way", WRITES)
def test_nothing_can_be_changed(fs, way):
    """Whatever would write or remove something is refused, and nothing only seems to have been done."""
    with pytest.raises(wildcast.ReadOnlyError):
        WRITES[way](fs)


BLOCK = 1000
OLD, NEW = bytes(range(256)) * 16, bytes(reversed(range(256))) * 16


@pytest.fixture
def opened(cdn):
    """A file of four blocks that was opened without a manifest, of which the first was read; and its CDN."""
    cdn.objects["f"] = OLD
    file = cdn.fs().open("f", block_size=BLOCK)
    assert file.read(10) == OLD[:10]
    return file, cdn


@pytest.mark.parametrize("now", [NEW, NEW[:-1], NEW + b"1", NEW[: BLOCK + 1], b""])
def test_an_open_file_does_not_become_another_one(opened, now):
    """Longer, shorter or as long: what is read after the file was replaced is an error, and no part of either."""
    file, cdn = opened
    cdn.objects["f"] = now
    with pytest.raises(wildcast.StaleObjectError, match="replaced since it was opened"):
        file.read()
    cdn.objects["f"] = OLD
    file.seek(0)
    assert file.read() == OLD


def test_an_open_file_of_a_server_without_manifests_is_held_to_its_etag(server):
    """Where the API tells sizes alone, the store is asked for the rest."""
    server.cdn.objects["f"] = OLD
    file, later = server.result().fs.open("f", block_size=BLOCK), server.result()
    assert file.read(10) == OLD[:10]
    server.cdn.objects["f"] = NEW
    with pytest.raises(wildcast.StaleObjectError, match="replaced since it was opened"):
        file.read()
    server.cdn.objects["f"] = NEW[:-1]
    with pytest.raises(wildcast.StaleObjectError):
        later.fs.open("f")


def test_a_store_without_head_is_held_to_the_size_that_the_api_tells(server):
    """A CDN that only sends files is no reason not to read them."""
    server.cdn.objects["f"] = OLD
    server.cdn.fault = lambda _, request: Response(status_code=405) if request.method == "HEAD" else None
    file = server.result().fs.open("f", block_size=BLOCK)
    assert file.read(10) == OLD[:10]
    server.cdn.objects["f"] = NEW[:-1]
    with pytest.raises(wildcast.StaleObjectError):
        file.read()


def test_a_store_without_etags_tells_at_least_the_size(opened):
    """A file that is cut off while it is open does not just end earlier."""
    file, cdn = opened
    cut = OLD[: 3 * BLOCK + 7]

    def answer(path, request):
        first, _, last = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        if path != "f" or not first:
            return None
        end = min(int(last) + 1, len(cut))
        return Response(cut[int(first) : end], 206, headers={"Content-Range": f"bytes {first}-{end - 1}/{len(cut)}"})

    cdn.fault = answer
    with pytest.raises(wildcast.StaleObjectError):
        file.read()


def test_an_open_file_travels_with_its_size(opened):
    """One that was pickled is not opened as another one."""
    file, cdn = opened
    pickled = pickle.dumps(file)
    assert pickle.loads(pickled).read() == OLD[10:]  # noqa: S301 - our own bytes
    cdn.objects["f"] = NEW[:-1]
    with pytest.raises(wildcast.StaleObjectError):
        pickle.loads(pickled)  # noqa: S301 - our own bytes


def test_files_of_two_results_are_not_the_same(server, cdn):
    """Not even with the same name and size."""
    cdn.publish(f=b"1")
    one, same = cdn.fs().open("f"), cdn.fs().open("f")
    options = {"server": server.url, "workflow": "wf", "execution": server.id}
    other = wildcast.SignedFileSystem(**options).open("f")
    assert isinstance(one, io.IOBase)
    assert one == same != other


def test_metadata_that_were_opened_are_held_to_their_size(cdn):
    """They are read whole, to be checked for codecs, and not of another version either."""
    cdn.objects["zarr.json"] = b'{"node_type": "group"}'
    file = cdn.fs().open("zarr.json")
    assert file.fs.cat_file("zarr.json", 1, 12) == b'"node_type"'
    cdn.objects["zarr.json"] = b"{}"
    with pytest.raises(wildcast.StaleObjectError):
        file.read()
    assert cdn.asked(MANIFEST_PATH) == 1
