"""Execution ids, keys, and what belongs to wildcast itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast.contract.naming import (
    MANIFEST_PATH,
    InvalidPathError,
    check_key,
    check_keys,
    is_execution_id,
    is_metadata,
    is_publication,
    join_key,
    new_execution_id,
    quote_key,
)


def test_new_ids_have_the_form_and_differ():
    """An id carries its second and eight random hex digits."""
    first, second = new_execution_id(1769560728.9), new_execution_id(1769560728.9)
    assert first.startswith("exec_1769560728_")
    assert first != second
    assert is_execution_id(first)


@pytest.mark.parametrize(
    "text", ["exec_1_10ed9d3", "exec_1_10ED9D3C", "xexec_1_10ed9d3c", "exec_1_10ed9d3c\n", "../x", ""]
)
def test_other_texts_are_no_ids(text):
    """Nothing but the exact form counts."""
    assert not is_execution_id(text)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\nb", "a\0b", "a\x7fb", "\udc80", "ü" * 513],
)
def test_what_is_no_plain_relative_path_is_refused(key):
    """Traversal, empty segments, control characters, broken Unicode and over-long keys name nothing."""
    with pytest.raises(InvalidPathError):
        check_key(key)


@given(st.lists(st.one_of(st.sampled_from(["a", "b/c", "ü/x", "a/../b", "", "/", "d/"]), st.text("./ab\n\x7fü"))))
def test_many_keys_are_checked_as_each_is(keys):
    """Together they pass if, and only if, every one of them does."""
    try:
        for key in keys:
            check_key(key)
    except InvalidPathError:
        with pytest.raises(InvalidPathError):
            check_keys(keys)
    else:
        check_keys(keys)


def test_a_long_key_is_found_among_many():
    """Also where all are plain."""
    check_keys(["a", "b" * 1024])
    with pytest.raises(InvalidPathError, match="1025 bytes"):
        check_keys(["a", "b" * 1025])


@pytest.mark.parametrize("key", ["a", "a/b.c", ".hidden", "..a/b..", "a b/ü#?%2e%2e", "ü" * 512])
def test_odd_but_legal_keys_pass_unchanged(key):
    """Dots inside names, spaces and URL punctuation are ordinary characters of a key."""
    assert check_key(key) == key


def test_join_key_leaves_empty_parts_out():
    """An empty prefix adds no slash."""
    assert join_key("", "exec_1", "a/b") == "exec_1/a/b"
    assert join_key("outputs/", "exec_1") == "outputs/exec_1"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_quoted_keys_are_ascii_and_mean_the_same(key):
    """Percent-encoding loses nothing and leaves nothing that a URL would read as punctuation."""
    from urllib.parse import unquote

    quoted = quote_key(key)
    assert quoted.isascii()
    assert not set(quoted) & set(" ?#+*&=;")
    assert unquote(quoted) == key


@pytest.mark.parametrize(
    "path",
    ["zarr.json", "a/zarr.json", "a.zarr/t/.zarray", "x/.zmetadata", MANIFEST_PATH, f"outputs/a/{MANIFEST_PATH}"],
)
def test_metadata_is_known_by_name(path):
    """What describes other objects is uploaded after them."""
    assert is_metadata(path)


@pytest.mark.parametrize("path", ["a.zarr/t/0.0", "zarr.json/c/0", "my.zarray", "a.wildcast/x", ".wildcast"])
def test_data_is_everything_else(path):
    """A name that merely resembles metadata is data."""
    assert not is_metadata(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("-2", True),
        ("-10", True),
        ("-", False),
        ("-x", False),
        ("-2-3", False),
        ("/a", False),
        ("-²", False),
    ],
)
def test_publications_are_called_by_their_execution_and_place(text, expected):
    """The first place has the execution's id alone, each further one its number as well."""
    assert is_publication(f"exec_1769560728_10ed9d3c{text}") == expected
    assert not is_publication("results")
