"""The manifest's round trip, and what it refuses."""

import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast.contract.manifest import (
    Dataset,
    FileRow,
    Manifest,
    ManifestError,
    decode_manifest,
    encode_manifest,
)

CREATED = datetime(2026, 11, 20, 12, tzinfo=UTC)


def manifest_of(rows, **changes):
    values = {
        "execution": "exec_1_10ed9d3c",
        "attempt": 1,
        "created_at": CREATED,
        "verified": "crc64nvme",
        "datasets": (),
    }
    return Manifest.of(rows, **{**values, **changes})


def row(path, size=1):
    return FileRow(path, size, "AAAAAAAAAAA=", '"etag"', "application/octet-stream")


def forged(**changes):
    plain = json.loads(gzip.decompress(encode_manifest(manifest_of([row("a"), row("b")]))))
    plain.update(changes)
    return gzip.compress(json.dumps(plain).encode())


segments = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/"), min_size=1, max_size=8
)
paths = st.lists(segments.filter(lambda s: s not in (".", "..")), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.integers(0, 2**50), max_size=20))
def test_a_manifest_survives_its_round_trip(files):
    """Decoding what was encoded gives the same value, whatever the paths."""
    manifest = manifest_of([row(path, size) for path, size in files.items()])
    data = encode_manifest(manifest)
    assert decode_manifest(data) == decode_manifest(gzip.decompress(data)) == manifest
    assert manifest.bytes == sum(files.values())


def test_the_same_manifest_has_the_same_bytes():
    """No clock and no order of insertion shows in the encoding."""
    assert encode_manifest(manifest_of([row("b"), row("a")])) == encode_manifest(manifest_of([row("a"), row("b")]))


def test_rows_stand_in_byte_order_of_their_paths():
    """The order is that of a listing in S3, not of code points pairs in UTF-16 or of a locale."""
    manifest = manifest_of([row("\U0001f600"), row("\ufb00"), row("a/b"), row("a.b"), row("Z")])
    assert [one.path for one in manifest.rows] == ["Z", "a.b", "a/b", "\ufb00", "\U0001f600"]


def test_datasets_travel_along():
    """A reader learns from the head what can be opened."""
    datasets = (Dataset(path="results.zarr", format="zarr3"), Dataset(path="a.nc", format="netcdf"))
    assert decode_manifest(encode_manifest(manifest_of([], datasets=datasets))).datasets == datasets


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"files": 3}, "totals"),
        ({"bytes": 3}, "totals"),
        ({"rows": [["b", 1, "", "", ""], ["a", 1, "", "", ""]]}, "out of order"),
        ({"rows": [["a", 1, "", "", ""], ["a", 1, "", "", ""]]}, "doubled"),
        ({"rows": [["../a", 1, "", "", ""], ["b", 1, "", "", ""]]}, "outside"),
        ({"rows": [["a", -1, "", "", ""], ["b", 3, "", "", ""]]}, "negative"),
        ({"rows": [["a"]]}, "damaged"),
        ({"verified": "trust me"}, "damaged"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes, words):
    """Each lie is named."""
    with pytest.raises(ManifestError, match=words):
        decode_manifest(forged(**changes))


@pytest.mark.parametrize("data", [b"", b"rubbish", gzip.compress(b"{}", mtime=0), gzip.compress(b"{", mtime=0)[:-4]])
def test_rubbish_is_refused(data):
    """Truncated, empty and foreign bytes are damage, not a crash."""
    with pytest.raises(ManifestError, match="damaged"):
        decode_manifest(data)
