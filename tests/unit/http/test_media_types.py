"""Content types and caching by path."""

import subprocess
import sys

import pytest

from wildcast_server.http.media_types import DEFAULT, IMMUTABLE, NO_CACHE, TYPES, cache_control, content_type


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("results.zarr/zarr.json", "application/json"),
        ("results.zarr/.zmetadata", "application/json"),
        ("results.zarr/t2m/.zarray", "application/json"),
        (".zgroup", "application/json"),
        (".zattrs", "application/json"),
        ("out/report.JSON", "application/json"),
        ("a.nc", "application/netcdf"),
        ("a.nc4", "application/netcdf"),
        ("map.png", "image/png"),
        ("log.txt", "text/plain; charset=utf-8"),
        (".wildcast/manifest.json.gz", "application/gzip"),
        ("a.zarr/t2m/c/0/0", DEFAULT),
        ("a.zarr/t2m/0.0.0", DEFAULT),
        ("README", DEFAULT),
        (".json", DEFAULT),
        ("json", DEFAULT),
        ("a.json/chunk", DEFAULT),
        ("a.", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_a_name_tells_its_type(path: str, expected: str) -> None:
    """Zarr's metadata by name, other files by suffix, chunks not at all."""
    assert content_type(path) == expected


def test_every_type_fits_a_header() -> None:
    """The table's suffixes are in lower case, and its types printable."""
    assert all(suffix == suffix.lower() and kind.isprintable() and "/" in kind for suffix, kind in TYPES.items())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.zarr/t2m/c/0/0", IMMUTABLE),
        ("a.nc", IMMUTABLE),
        ("a.zarr/zarr.json", NO_CACHE),
        ("a.zarr/t2m/.zarray", NO_CACHE),
        (".wildcast/manifest.json.gz", NO_CACHE),
        ("outputs/exec_1_0/.wildcast/manifest.json.gz", NO_CACHE),
        ("outputs/x.wildcast/a", IMMUTABLE),
    ],
)
def test_only_what_describes_is_asked_for_anew(path: str, expected: str) -> None:
    """Data never changes; metadata and the manifest may, as a path in the publication and as a key."""
    assert cache_control(path) == expected


def test_the_types_come_without_the_web_framework() -> None:
    """Publishing uses them, and must not import a server."""
    code = "import sys, wildcast_server.http.media_types; sys.exit('starlette' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_signing_comes_without_web_framework_and_database() -> None:
    """The command that signs a prefix starts fast."""
    code = (
        "import sys, wildcast_server.signing.cloudfront, wildcast_server.signing.verify\n"
        "sys.exit(bool({'starlette', 'fastapi', 'sqlalchemy', 'botocore'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
