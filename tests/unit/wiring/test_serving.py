"""Addresses, server threads, the lock of a data directory, and stopping."""

import os
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import httpx
import pytest

from wildcast_server.errors import SettingsError, WildcastServerError
from wildcast_server.wiring.lock import sole_service
from wildcast_server.wiring.serving import ServerThread, bind, url_of
from wildcast_server.wiring.stopping import stop_requests


async def app(_scope, receive, send):
    """Answer everything with 200."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def test_a_free_port_is_taken_and_named():
    """Port 0 becomes a real one, which the URL has."""
    with bind("127.0.0.1", 0, "api") as bound:
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("0.0.0.0", 80), "http://127.0.0.1:80"),  # noqa: S104 - nothing is bound
        (("::", 80, 0, 0), "http://[::1]:80"),
        (("::1", 80, 0, 0), "http://[::1]:80"),
    ],
)
def test_every_interface_is_reached_by_loopback(name, url):
    """The address that means all of them is no address to connect to; IPv6 has brackets."""
    assert url_of(SimpleNamespace(getsockname=lambda: name)) == url


def test_a_port_is_taken_from_the_first_moment():
    """A second server is refused although the first has not begun to serve."""
    with bind("127.0.0.1", 0, "api") as bound:
        port = bound.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}.*edge\.port"):
            bind("127.0.0.1", port, "edge")


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70 + ".example"])
def test_a_host_that_is_not_ours_is_a_sentence(host):
    """Whatever is wrong with it, the setting is named."""
    with pytest.raises(SettingsError, match=r"api\.host"):
        bind(host, 0, "api")


def test_a_process_may_have_many_connections():
    """The limit that it was started with is raised, as far as it may be, and never lowered."""
    code = """
import resource
from wildcast_server.wiring.serving import allow_many_connections
for limits in ((256, 3000), (3000, 3000)):
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    allow_many_connections()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (3000, 3000)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_who_connects_early_is_served():
    """A request that is sent before the server begins is answered once it does."""
    bound = bind("127.0.0.1", 0, "api")
    with socket.create_connection(bound.getsockname()) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with ServerThread("API", app, bound):
            assert early.recv(100).startswith(b"HTTP/1.1 200")


def test_a_server_ends_with_its_context():
    """Neither thread nor socket stays."""
    before = set(threading.enumerate())
    bound = bind("127.0.0.1", 0, "api")
    with ServerThread("API", app, bound) as server:
        assert httpx.get(url_of(bound)).status_code == 200
        assert server.is_alive
    assert not server.is_alive
    assert bound.fileno() == -1
    assert set(threading.enumerate()) == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_does_not_start_says_so():
    """The thread has ended, and the sentence names the server."""
    bound = bind("127.0.0.1", 0, "api")
    server = ServerThread("API", app, bound)
    os.close(bound.detach())
    with pytest.raises(WildcastServerError, match="API server did not start"):
        server.__enter__()
    assert not server.is_alive


def test_a_data_directory_has_one_service(tmp_path):
    """The second is refused with what to do; after the first has ended there is room again."""
    with sole_service(tmp_path / "data"), pytest.raises(SettingsError, match="another wildcast-server"):
        sole_service(tmp_path / "data").__enter__()
    with sole_service(tmp_path / "data"):
        pass


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path):
    """A file stands where the directory should be."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(SettingsError, match=rf"data_dir {path} .* {tmp_path}/file\S* is no directory; set another"):
            sole_service(path).__enter__()


@pytest.mark.parametrize("host", ["300.1.1.1", "192.0.2.1", "x" * 80])
def test_a_host_that_is_not_here_is_what_to_change(host):
    """And no other program has to stop for it."""
    with pytest.raises(SettingsError, match=r"no address of this machine\): change edge\.host$"):
        bind(host, 0, "edge")


def test_a_port_that_is_taken_is_what_to_free():
    """Or another is to be chosen."""
    with bind("127.0.0.1", 0, "api") as bound, pytest.raises(SettingsError, match="stop what listens there"):
        bind("127.0.0.1", bound.getsockname()[1], "api")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request(number):
    """It sets the event and raises nothing; then a second Ctrl-C is the system's; afterwards all is as before."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
