"""The name of a file in a header."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast_server.http.disposition import content_disposition


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.nc", 'inline; filename="a.nc"'),
        ("outputs/exec_1/a b (1);x.nc", 'inline; filename="a b (1);x.nc"'),
        ("größe.nc", "inline; filename=\"gr__e.nc\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.nc"),
        ("日本/図.nc", "inline; filename=\"_.nc\"; filename*=UTF-8''%E5%9B%B3.nc"),
        ('a"b\\c', "inline; filename=\"a_b_c\"; filename*=UTF-8''a%22b%5Cc"),
        ("100%.nc", "inline; filename=\"100_.nc\"; filename*=UTF-8''100%25.nc"),
        ("a\r\nX-Evil: 1", "inline; filename=\"a__X-Evil: 1\"; filename*=UTF-8''a%0D%0AX-Evil%3A%201"),
        ("é'*", "inline; filename=\"_'*\"; filename*=UTF-8''%C3%A9%27%2A"),
        ("\u202egnp.exe", "inline; filename=\"_gnp.exe\"; filename*=UTF-8''%E2%80%AEgnp.exe"),
    ],
)
def test_a_file_is_named(path: str, expected: str) -> None:
    """By its last component: as it is where a quoted name can hold it, else in RFC 8187's form too."""
    assert content_disposition(path) == expected


@given(st.text(min_size=1))
def test_any_name_fits_a_header_and_comes_back(name: str) -> None:
    """Printable ASCII in two quotes, whatever the name holds; decoded, it is the name."""
    last = name.rpartition("/")[2]
    value = content_disposition(name)
    assert value.isascii()
    assert value.isprintable()
    match = re.fullmatch(
        r"inline; filename=\"([^\"\\\\]*)\"(?:; filename\*=UTF-8''([!#$&+.^_`|~0-9A-Za-z%-]+))?", value
    )
    assert match is not None
    found = match[1] if match[2] is None else unquote(match[2], errors="strict")
    assert found == last
