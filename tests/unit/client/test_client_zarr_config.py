"""How many chunks zarr asks for at a time: as many as there are connections, unless its user has said otherwise."""

import os
import subprocess
import sys

import pytest

READ = """
import sys
{before}
import wildcast
fs = wildcast.SignedFileSystem({url!r})
fs.cat_file("a.bin")
assert {uses_zarr} or "zarr" not in sys.modules
import zarr
{after}
fs.cat_file("a.bin")
print(zarr.config.get("async.concurrency"))
"""

BLOCK = "import zarr; block = zarr.config.set({'async.concurrency': 4}); block.__enter__()"

CASES = {
    "left alone": ({}, "", "", 128),
    "zarr first": ({}, "import zarr", "", 128),
    "few descriptors": ({}, "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))", "", 64),
    "environment": ({"ZARR_ASYNC__CONCURRENCY": "10"}, "", "", 10),
    "set before": ({}, "import zarr; zarr.config.set({'async.concurrency': 7})", "", 7),
    # Of this one zarr keeps nothing that tells it from "zarr first"; docs/client.md names the ways out.
    "set to the default before": ({}, "import zarr; zarr.config.set({'async.concurrency': 10})", "", 128),
    "set for a block": ({}, BLOCK, "block.__exit__(None, None, None)", 128),
    "set to another later": ({}, "import zarr", "zarr.config.set({'async.concurrency': 7})", 7),
    "set later": ({}, "import zarr", "zarr.config.set({'async.concurrency': 10})", 10),
}


ALWAYS = {"left alone", "environment", "set before", "set later"}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in ALWAYS else pytest.mark.long) for case in CASES]
)
def test_the_users_number_is_left_alone(cdn, case):
    """It is raised once zarr is in use, and neither a variable nor a call is overruled."""
    environment, before, after, expected = CASES[case]
    assert concurrency(cdn, environment, before, after) == expected


def test_a_file_of_the_user_is_left_alone(cdn, tmp_path):
    """Zarr's own configuration files count as well, even with the number that is the default."""
    (tmp_path / "zarr.yaml").write_text("async:\n  concurrency: 10\n")
    assert concurrency(cdn, {"ZARR_CONFIG": str(tmp_path)}, "", "") == 10


def concurrency(cdn, environment, before, after):
    cdn.publish(**{"a.bin": b"a"})
    code = READ.format(url=cdn.signed(), before=before, after=after, uses_zarr="zarr" in before)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
