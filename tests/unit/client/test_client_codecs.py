"""Data that can only be decoded by running code are refused, wherever the store says so, and nothing else is."""

import json
import os
import pickle

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import JSON, VLenUTF8

import wildcast
from wildcast._codecs import check_codecs

PICKLE2 = {"id": "pickle", "protocol": 5}
ZARRAY = {
    "zarr_format": 2,
    "shape": [1],
    "chunks": [1],
    "dtype": "|O",
    "order": "C",
    "fill_value": None,
    "compressor": None,
    "filters": [PICKLE2],
}
SHARDED = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}], "index_codecs": []}}
ARRAY3 = {"zarr_format": 3, "node_type": "array", "codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}
GROUP3 = {"zarr_format": 3, "node_type": "group", "attributes": {}}


def consolidated(name, array):
    return {**GROUP3, "consolidated_metadata": {"kind": "inline", "metadata": {name: array}}}


UNSAFE = {
    "filter": ("a/.zarray", ZARRAY),
    "compressor": ("a/.zarray", {**ZARRAY, "filters": None, "compressor": PICKLE2}),
    "consolidated": (".zmetadata", {"metadata": {".zgroup": {}, "g/h/a/.zarray": ZARRAY}}),
    "zarr 3": ("a/zarr.json", ARRAY3),
    "a bare name": ("a/zarr.json", {**ARRAY3, "codecs": ["bytes", "pickle"]}),
    "in a shard": ("a/zarr.json", {**ARRAY3, "codecs": [SHARDED]}),
    "consolidated 3": ("zarr.json", consolidated("g/a", ARRAY3)),
    "consolidated twice": ("zarr.json", consolidated("g", consolidated("a", ARRAY3))),
    "a node of a treacherous name": ("zarr.json", consolidated("attributes", ARRAY3)),
    "another pickler": ("a/.zarray", {**ZARRAY, "filters": [{"id": "CloudPickle"}]}),
}


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("case", UNSAFE)
def test_a_codec_that_unpickles_is_refused(case):
    """In zarr 2 and 3, consolidated or not, in groups and in shards, however its letters are written and encoded."""
    path, document = UNSAFE[case]
    for body in (json.dumps(document), json.dumps(document).replace("ickle", "\\u0069ckle")):
        for encoding in ENCODINGS:
            assert json.loads(body.encode(encoding)) == document
            with pytest.raises(wildcast.UnsafeDataError, match="runs code"):
                check_codecs(path, body.encode(encoding))


SAFE = {
    "attributes": ("zarr.json", {**GROUP3, "attributes": {"filters": [PICKLE2], "codecs": ["pickle"], "x": "pickle"}}),
    "attributes of zarr 2": (".zmetadata", {"metadata": {".zattrs": {"filters": [PICKLE2]}}}),
    "a variable's name": ("zarr.json", consolidated("pickle", {**ARRAY3, "codecs": [{"name": "bytes"}]})),
    "another file": ("a/0", ZARRAY),
    "no object": ("zarr.json", ["pickle"]),
}


@pytest.mark.parametrize("case", SAFE)
def test_words_elsewhere_are_only_words(case):
    """What is named after a pickle is not one."""
    path, document = SAFE[case]
    check_codecs(path, json.dumps(document).encode())
    check_codecs(path, b"{not JSON: pickle")


@given(st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_no_metadata_break_the_check(document):
    """Whatever a file of that name holds, it passes or is refused."""
    nested = {"codecs": document, "filters": [document], "consolidated_metadata": document, "metadata": document}
    for path in ("zarr.json", ".zmetadata", ".zarray"):
        check_codecs(path, json.dumps(nested).replace("pickle", "").encode())


class Canary:
    """Unpickled, it leaves a mark."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["CANARY"],)


@pytest.fixture
def unsafe(cdn, tmp_path, monkeypatch):
    """A published store whose only chunk runs code; gives the CDN and the mark that it would leave."""
    monkeypatch.setenv("CANARY", str(tmp_path / "mark"))
    body = pickle.dumps([np.array([Canary()], dtype=object).tolist(), "|O", [1]])
    group = b'{"zarr_format": 2}'
    whole = json.dumps(
        {"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}, "a/.zarray": ZARRAY}}
    )
    cdn.publish(
        **{"r.zarr/.zgroup": group, "r.zarr/a/.zarray": json.dumps(ZARRAY).encode(), "r.zarr/a/0": body},
        **{"r.zarr/.zmetadata": whole.encode()},
    )
    return cdn, tmp_path / "mark"


WAYS = {
    "mapper": lambda url, c: xr.open_zarr(wildcast.create_cloudfront_mapper(url, "r.zarr"), consolidated=c),
    "url": lambda url, c: xr.open_zarr("wildcast://r.zarr", storage_options={"signed_url": url}, consolidated=c),
    "zarr": lambda url, _: zarr.open_array("wildcast://r.zarr/a", mode="r", storage_options={"signed_url": url})[:],
    "copy": lambda url, _: fs_of(url).get("r.zarr", os.environ["CANARY"] + "-copy", recursive=True),
}


def fs_of(url):
    return wildcast.SignedFileSystem(url)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_consolidated", [True, False])
def test_nothing_is_unpickled_or_even_read(unsafe, way, is_consolidated, monkeypatch):
    """Even where numcodecs has been told to unpickle, no chunk is asked for."""
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)
    cdn, mark = unsafe
    with pytest.raises(wildcast.UnsafeDataError):
        WAYS[way](cdn.signed(), is_consolidated)
    assert way == "copy" or cdn.asked("r.zarr/a/0") == 0
    assert not mark.exists()


@pytest.mark.parametrize("codec", [JSON(), VLenUTF8()], ids=lambda codec: codec.codec_id)
def test_codecs_of_text_pass(codec):
    """Objects that are only text need no code."""
    check_codecs("a/.zarray", json.dumps({**ZARRAY, "filters": [codec.get_config()]}).encode())


def test_strings_of_zarr_2_are_read(cdn):
    """An object array of strings is read as it was written, whatever the strings are."""
    codec, chunk = VLenUTF8(), np.array(["ä", "pickle"], dtype=object)
    array = {**ZARRAY, "shape": [2], "chunks": [2], "filters": [codec.get_config()], "fill_value": ""}
    cdn.publish(**{"a/.zarray": json.dumps(array).encode(), "a/0": bytes(codec.encode(chunk))})
    found = zarr.open_array("wildcast://a", mode="r", storage_options={"signed_url": cdn.signed()}, zarr_format=2)
    assert list(found[:]) == ["ä", "pickle"]
