"""What the signed filesystem lists, and where it knows that from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wildcast
from wildcast._listing import Listing

BODY = bytes(range(256)) * 10


def test_listing_comes_from_the_manifest(cdn):
    """Directories and files are listed with their sizes, without any LIST permission."""
    cdn.publish(**{"s.zarr/c/0": b"12", "s.zarr/zarr.json": b"{}", "b.nc": b"123"})
    fs = cdn.fs()
    assert fs.ls("") == [
        {"name": "b.nc", "size": 3, "type": "file"},
        {"name": "s.zarr", "size": 0, "type": "directory"},
    ]
    assert fs.find("s.zarr") == ["s.zarr/c/0", "s.zarr/zarr.json"]
    assert fs.glob("**/*.json") == ["s.zarr/zarr.json"]
    assert fs.isdir("s.zarr/c")
    assert fs.info("b.nc")["size"] == 3
    assert list(fs.get_mapper("s.zarr")) == ["c/0", "zarr.json"]


def test_listing_what_is_not_there_is_an_error(cdn):
    """A directory that does not exist is missing, not empty."""
    cdn.publish(**{"a.bin": BODY})
    with pytest.raises(FileNotFoundError):
        cdn.fs().ls("other")


def test_listing_without_a_manifest_is_an_error(cdn):
    """Where nothing says which files there are, a listing is not empty but impossible."""
    with pytest.raises(wildcast.NoListingError):
        cdn.fs().ls("")
    with pytest.raises(wildcast.NoListingError):
        cdn.fs().find("")


def test_size_without_a_manifest_comes_from_head(cdn):
    """A prefix of others still tells how long a file is."""
    cdn.objects["a.bin"] = BODY
    assert cdn.fs().info("a.bin")["size"] == len(BODY)
    assert cdn.requests[-1][0] == "HEAD"


@given(st.sets(st.lists(st.sampled_from(["a", "a-", "a0", "b", "ü"]), min_size=1, max_size=4).map("/".join)))
def test_a_listing_is_the_tree_of_its_paths(paths):
    """Children, files below and kinds agree with a plain look through all paths."""
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    listing = Listing(dict.fromkeys(files, 1))
    directories = {"", *("/".join(p.split("/")[:n]) for p in files for n in range(1, p.count("/") + 1))}
    for directory in directories:
        below = sorted(p for p in files if not directory or p.startswith(f"{directory}/"))
        depth = directory.count("/") + 2 if directory else 1
        assert [entry.path for entry in listing.below(directory)] == below
        assert [entry.path for entry in listing.children(directory)] == sorted(
            {"/".join(p.split("/")[:depth]) for p in below}, key=lambda p: p if p in files else f"{p}/"
        )
    assert all(listing.is_directory(directory) for directory in directories - {""})
    assert not any(listing.is_directory(path) for path in files)


@given(st.sets(st.lists(st.sampled_from(["a", "a-", "b"]), max_size=4).map("/".join)))
def test_stores_are_the_outermost_directories_with_metadata(directories):
    """Groups and arrays in a store are no stores of their own."""
    listing = Listing({f"{directory}/zarr.json".lstrip("/"): 1 for directory in directories} | {"c/0": 1})
    inner = {d for d in directories for o in directories if d != o and (not o or d.startswith(f"{o}/"))}
    assert listing.stores() == sorted(directories - inner)
