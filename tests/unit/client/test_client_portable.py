"""Paths that one system takes for another file than the next system does, or for none."""

import unicodedata

import pytest

import wildcast
from wildcast._download import Destination
from wildcast._portable import check_apart, check_portable

DEVICES = ["NUL", "a/CON.nc", "aux", "com1.txt", "LPT³", "nul .nc", "con.d/x", "CONIN$"]
OTHER_FILES = ["x.nc:stream", "trail.", "a. ", "a./b", "a /b"]
FINE = ["null.nc", "a/console", "com10", "a.b.c", ".hidden", "a b", "COMA1"]


@pytest.mark.parametrize("path", DEVICES + OTHER_FILES)
def test_what_is_no_file_on_windows_is_refused_there(path):
    """It would be a device, a stream of another file or a file of another name; elsewhere it is a file as any."""
    with pytest.raises(wildcast.UnsafePathError, match="Windows"):
        check_portable(path, is_windows=True)
    check_portable(path, is_windows=False)


@pytest.mark.parametrize("path", FINE)
def test_what_only_looks_like_a_device_is_a_file(path):
    """No more is refused than Windows does."""
    check_portable(path, is_windows=True)


@pytest.mark.parametrize("path", ["C:evil", "C:\\x", "..\\..\\evil.bat"])
def test_a_copy_by_the_filesystem_is_as_careful(cdn, tmp_path, path):
    """As fsspec's `get` makes it, which puts a path behind a directory by whatever the system's rules are."""
    cdn.publish(**{path: b"evil"})
    with pytest.raises(wildcast.UnsafePathError, match="outside the directory on some systems"):
        cdn.fs().get("", str(tmp_path / "new"), recursive=True)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


def test_everything_is_copied_by_the_filesystem(cdn, tmp_path):
    """The root is a directory as any."""
    cdn.publish(**{"a/b": b"ab", "c": b"c"})
    cdn.fs().get("", str(tmp_path / "new"), recursive=True)
    assert (tmp_path / "new" / "a" / "b").read_bytes() == b"ab"
    assert (tmp_path / "new" / "c").read_bytes() == b"c"


COMPOSED, DECOMPOSED = "é.nc", unicodedata.normalize("NFD", "é.nc")


def as_a_mac(names):
    return {name: unicodedata.normalize("NFC", name).casefold() for name in names}


def as_linux(names):
    return {name: name for name in names}


@pytest.mark.parametrize(
    "paths",
    [["a.nc", "b", "A.nc"], ["T/c/0", "x", "t/c/0"], [COMPOSED, DECOMPOSED], [f"T/{COMPOSED}", f"t/{DECOMPOSED}"]],
)
def test_names_that_are_one_file_are_refused(paths):
    """Where the disk does not tell them apart one would overwrite the other, and both would look downloaded."""
    with pytest.raises(wildcast.UnsafePathError, match="would be one file"):
        check_apart(paths, as_a_mac)
    check_apart(paths, as_linux)


def test_only_what_differs_is_tried_out():
    """Of thousands of files below two directories, the two names."""
    asked = []

    def identify(names):
        asked.extend(names)
        return as_linux(names)

    check_apart([f"{variable}/c/{number}" for variable in "Tt" for number in range(1000)], identify)
    assert sorted(asked) == ["T", "t"]
    check_apart([f"T/{number}" for number in range(1000)], identify)
    assert len(asked) == 2


def test_the_disk_itself_says_what_it_tells_apart(tmp_path):
    """What it says is what becomes of two such files, and nothing is left of the trial."""
    destination = Destination(tmp_path)
    found = destination._identify(["a", "A", "b"])
    assert list(tmp_path.iterdir()) == []
    for name in ("a", "A", "b"):
        (tmp_path / name).touch()
    assert len(set(found.values())) == len(list(tmp_path.iterdir()))


def test_files_that_differ_in_case_are_downloaded_where_they_are_two(server, tmp_path):
    """On a disk that tells them apart both arrive, each with its own content."""
    server.cdn.publish(**{"T/0": b"large", "t/0": b"small"})
    apart = len(set(Destination(tmp_path)._identify(["T", "t"]).values())) == 2
    if apart:
        server.result().download(tmp_path)
        assert ((tmp_path / "T" / "0").read_bytes(), (tmp_path / "t" / "0").read_bytes()) == (b"large", b"small")
    else:
        with pytest.raises(wildcast.UnsafePathError, match="would be one file"):
            server.result().download(tmp_path)
