"""Reading for longer than a URL lives: the same bytes, few renewals, here and in another process."""

import hashlib
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from starlette.responses import Response

from wildcast.contract.policy import parse_signed_url

CHUNKS = 40
LIFE = 1.0
"""Seconds; a policy's end has whole ones, so a URL lives this long at least, and one second more at most."""


@pytest.fixture
def lifetime(server, monkeypatch):
    """An API whose URLs end after some seconds, and a CDN that holds them to it; `set` says after how many."""
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    cdn = server.cdn
    lives = [LIFE]

    def expired(_path, request):
        signed = parse_signed_url(f"{cdn.base}/*?{request.url.query}")
        return Response("expired", 403) if signed.expires_at.timestamp() <= time.time() else None

    def metadata(original=server.metadata):
        return original() | {"signed_url": cdn.signed(expires_in=lives[0] + 1)}

    cdn.fault, server.metadata = expired, metadata
    return lives


@pytest.fixture
def source(server, tmp_path):
    """A store of small chunks, published; gives what it was written from."""
    data = xr.Dataset({"t": (("y", "x"), np.random.default_rng(0).random((CHUNKS, 50)))})
    encoding = {"t": {"chunks": (1, 50)}}
    data.to_zarr(tmp_path / "r.zarr", zarr_format=2, encoding=encoding)
    files = [path for path in (tmp_path / "r.zarr").rglob("*") if path.is_file()]
    server.cdn.publish(**{path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files})
    return data


def renewals(server):
    return sum(path.endswith("/results") for path in server.paths)


def read_for(seconds, data):
    """Read row after row for a while, and then once more; gives the rows, and how often each was read."""
    rows, rounds = {}, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until or not rounds:
        for row in range(CHUNKS):
            values = data["t"][row].to_numpy()
            assert rows.setdefault(row, values.tobytes()) == values.tobytes()
            time.sleep(seconds / CHUNKS / 4)
        rounds += 1
    return np.stack([np.frombuffer(rows[row]) for row in range(CHUNKS)])


@pytest.mark.usefixtures("lifetime")
def test_a_read_outlives_its_urls(server, source):
    """Over URLs that live a second or two everything is read, with no more renewals than lifetimes."""
    data = server.result().open_dataset()
    before, started = renewals(server), time.monotonic()
    assert np.array_equal(read_for(2.5, data), source["t"])
    assert 1 <= renewals(server) - before <= (time.monotonic() - started) / (LIFE * 0.75) + 1


@pytest.mark.long
def test_a_minute_outlives_urls_of_five_seconds(server, lifetime, source):
    """The same for a minute, as a long computation reads."""
    lifetime[0] = 5.0
    data = server.result().open_dataset()
    before = renewals(server)
    assert np.array_equal(read_for(60, data), source["t"])
    assert 9 <= renewals(server) - before <= 17


CHILD = """
import hashlib, pickle, sys, time
started = time.monotonic()
digest = None
while time.monotonic() - started < float(sys.argv[2]):
    data = pickle.load(open(sys.argv[1], "rb"))  # as each task of dask does
    rows = b"".join(data["t"][row].to_numpy().tobytes() for row in range(0, data.sizes["y"], 5))
    found = hashlib.sha256(rows).hexdigest()
    assert digest in (None, found)
    digest = found
    time.sleep(0.1)
print(digest)
"""


@pytest.mark.parametrize("seconds", [2.5, pytest.param(20, marks=pytest.mark.long)])
def test_a_pickled_copy_renews_in_another_process(server, lifetime, source, tmp_path, seconds):
    """However many copies arrive there, they share the URL; its first one has ended long before."""
    lifetime[0] = LIFE
    pickled = tmp_path / "pickled"
    pickled.write_bytes(pickle.dumps(server.result().open_dataset()))
    assert b"canary-token" not in pickled.read_bytes()
    before, started = renewals(server), time.monotonic()
    time.sleep(LIFE + 1)
    command = [sys.executable, "-c", CHILD, str(pickled), str(seconds)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    expected = hashlib.sha256(source["t"].to_numpy()[::5].tobytes()).hexdigest()
    assert done.stdout.strip() == expected, done.stderr
    assert 1 <= renewals(server) - before <= (time.monotonic() - started) / (LIFE * 0.75) + 2
    assert set(server.tokens) == {"Bearer canary-token"}
