"""Requests that clients cause: to the address that was checked, and nowhere else."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest
from tests.certificates import self_signed

from wildcast_server.errors import DeliveryFailedError, ForbiddenAddressError
from wildcast_server.http.outgoing import MAX_REDIRECTS, Outgoing

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Hook:
    """A receiver on loopback, which answers with `status` and `headers`, and keeps what came."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://hook.example:{self.port}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with served(Hook()) as started:
        yield started


@contextmanager
def served(hook: Hook, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """Serve `hook` on a free port of `host`, or the port that it names."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.came.append((self.path, dict(self.headers), body))
            self.send_response(hook.status)
            for name, value in {"Content-Length": "2", **hook.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            pass  # a handshake that the client gives up

    server = Server((host, hook.port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def at(*addresses: str) -> Callable[[str, int], list[str]]:
    """Return a resolver that finds every name there."""
    return lambda _host, _port: list(addresses)


def outgoing(*addresses: str, timeout: float = 5.0, tls: ssl.SSLContext | None = None) -> Outgoing:
    return Outgoing(LOOPBACK, timeout=timeout, resolve=at(*(addresses or ("127.0.0.1",))), tls=tls)


def test_a_body_is_posted(hook: Hook) -> None:
    """Path, query, name of the host, headers and body arrive; the status comes back."""
    hook.status = 202

    status = outgoing().post(f"{hook.url}/a?b=c", b'{"x":1}', {"Content-Type": "application/json", "X-One": "1"})

    assert status == 202
    [(path, headers, body)] = hook.came
    assert (path, body) == ("/a?b=c", b'{"x":1}')
    assert headers["Host"] == f"hook.example:{hook.port}"
    assert (headers["Content-Type"], headers["X-One"]) == ("application/json", "1")


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1"])
def test_a_name_that_leads_inside_is_refused(hook: Hook, address: str) -> None:
    """After the resolution, whatever the name; the message does not tell the address."""
    with pytest.raises(ForbiddenAddressError) as caught:
        Outgoing(resolve=at(address)).post(f"{hook.url}/token", b"", {})

    assert not hook.came
    assert address not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
def test_other_forms_of_an_address_are_refused_by_the_real_resolver(hook: Hook, host: str) -> None:
    """What the system's resolver makes of a host is what is checked."""
    with pytest.raises(ForbiddenAddressError):
        Outgoing().post(f"http://{host}:{hook.port}/", b"", {})
    assert not hook.came


def test_one_forbidden_address_among_several_refuses_the_name(hook: Hook) -> None:
    """Whoever names a public and a private address gets neither."""
    with pytest.raises(ForbiddenAddressError):
        Outgoing(resolve=at("8.8.8.8", "127.0.0.1")).post(hook.url, b"", {})
    assert not hook.came


def test_a_name_that_is_bound_anew_changes_nothing() -> None:
    """It is looked up once a request, and the address that was checked is the one that is connected to."""
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    with served(Hook(), "127.0.0.2") as checked, served(Hook(port=checked.port), "127.0.0.1") as other:
        only = (ip_network("127.0.0.2/32"),)
        status = Outgoing(only, resolve=lambda _host, _port: next(answers)).post(checked.url, b"", {})

    assert status == 200
    assert (len(checked.came), len(other.came)) == (1, 0)
    assert next(answers) == ["127.0.0.1"]  # it was not asked for


def test_the_next_address_is_tried() -> None:
    """One that refuses the connection does not end the request."""
    with served(Hook(), "127.0.0.2") as hook:
        assert outgoing("127.0.0.3", "127.0.0.2").post(hook.url, b"", {}) == 200


def test_proxies_of_the_environment_are_not_used(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look the name up by itself."""
    with served(Hook(status=500)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert outgoing().post(hook.url, b"", {}) == 200

    assert (len(hook.came), len(proxy.came)) == (1, 0)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_of_the_request_is_followed(hook: Hook, status: int) -> None:
    """The same body goes to the other place."""
    with served(Hook(status=status, headers={"Location": f"{hook.url}/there"})) as first:
        assert outgoing().post(first.url, b"body", {"X-One": "1"}) == 200

    [(path, headers, body)] = hook.came
    assert (path, headers["X-One"], body) == ("/there", "1", b"body")


@pytest.mark.parametrize("status", [301, 302, 303, 304])
def test_a_redirect_to_another_request_is_an_answer(hook: Hook, status: int) -> None:
    """A redirect that would make it a GET is not followed."""
    hook.status, hook.headers = status, {"Location": "/there"}

    assert outgoing().post(hook.url, b"", {}) == status
    assert len(hook.came) == 1


def test_a_redirect_that_leads_inside_is_refused(hook: Hook) -> None:
    """The place that it leads to is resolved and checked as the first one was."""
    found = {"hook.example": ["127.0.0.2"], "inside.example": ["127.0.0.1"]}
    only = (ip_network("127.0.0.2/32"),)
    away = {"Location": f"http://inside.example:{hook.port}/"}
    with served(Hook(status=307, headers=away), "127.0.0.2") as first, pytest.raises(ForbiddenAddressError):
        Outgoing(only, resolve=lambda host, _port: found[host]).post(first.url, b"", {})

    assert len(first.came) == 1
    assert not hook.came


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://user:pass@hook.example/", "http://[::1]/", "//["])
def test_a_redirect_to_what_no_request_may_name_is_refused(hook: Hook, location: str) -> None:
    """What would be refused at first is refused later."""
    hook.status, hook.headers = 308, {"Location": location}

    with pytest.raises(ForbiddenAddressError):
        Outgoing(LOOPBACK, resolve=lambda host, _port: [host if ":" in host else "127.0.0.1"]).post(hook.url, b"", {})


def test_redirects_in_a_circle_end(hook: Hook) -> None:
    """Not more than three are followed."""
    hook.status, hook.headers = 307, {"Location": "/again"}

    with pytest.raises(DeliveryFailedError, match="more than 3 redirects"):
        outgoing().post(hook.url, b"", {})
    assert len(hook.came) == 1 + MAX_REDIRECTS


def test_a_name_that_is_not_known_is_a_failure() -> None:
    """The message names the host, and nothing of the path."""

    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(DeliveryFailedError, match=r"the host of https://nowhere\.example is not known") as caught:
        Outgoing(resolve=unknown).post("https://nowhere.example/secret", b"", {})
    assert "secret" not in str(caught.value)


def test_a_receiver_that_is_away_is_a_failure(hook: Hook) -> None:
    """A refused connection is told as such."""
    with pytest.raises(DeliveryFailedError, match="connection refused"):
        outgoing("127.0.0.9").post(hook.url, b"", {})


@pytest.mark.parametrize("drip", [b"", b"H", b"HTTP/1.1 200 OK\r\nX-A: b\r\n"], ids=["silent", "byte", "headers"])
def test_a_receiver_that_never_ends_is_cut_off(drip: bytes) -> None:
    """Neither silence nor a little from time to time lasts longer than the time-out."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                for _ in range(400):
                    if ended.wait(0.05):
                        return
                    try:
                        peer.sendall(drip)
                    except OSError:
                        return

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        with pytest.raises(DeliveryFailedError, match=r"took longer than 0\.5 seconds"):
            outgoing(timeout=0.5).post(f"http://hook.example:{listener.getsockname()[1]}/", b"", {})
        took = time.monotonic() - began
        ended.set()
        thread.join()
    assert took < 3


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_does_not_speak_http_is_a_failure(answer: bytes) -> None:
    """An end without an answer, and another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(DeliveryFailedError):
            outgoing().post(f"http://hook.example:{listener.getsockname()[1]}/", b"", {})
        thread.join()


def test_a_header_cannot_bring_another(hook: Hook) -> None:
    """A line end in a value is refused before anything is sent."""
    with pytest.raises(ValueError, match="Invalid header"):
        outgoing().post(hook.url, b"", {"X-One": "1\r\nX-Evil: 2"})
    assert not hook.came


@dataclass(frozen=True)
class Certified:
    """A certificate for `hook.example`, and whoever believes it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    certificate, key = self_signed(tmp_path_factory.mktemp("tls"), "hook.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return Certified(server, ssl.create_default_context(cafile=str(certificate)))


@pytest.mark.parametrize("host", ["hook.example", "127.0.0.1"])
def test_a_certificate_is_checked_against_the_name_in_the_url(certified: Certified, host: str) -> None:
    """Although it is an address that is connected to."""
    with served(Hook(), tls=certified.server) as hook:
        assert outgoing(tls=certified.client).post(f"https://{host}:{hook.port}/", b"body", {}) == 200

    assert hook.came[0][2] == b"body"


def test_a_certificate_of_another_name_is_refused(certified: Certified) -> None:
    """Nothing is sent, and the message says why."""
    with served(Hook(), tls=certified.server) as hook, pytest.raises(DeliveryFailedError, match="certificate is not"):
        outgoing(tls=certified.client).post(f"https://other.example:{hook.port}/", b"body", {})
    assert not hook.came


def test_a_certificate_that_nobody_signed_is_refused(certified: Certified) -> None:
    """The system's authorities are asked where no others are named."""
    with served(Hook(), tls=certified.server) as hook, pytest.raises(DeliveryFailedError, match="certificate is not"):
        outgoing().post(f"https://hook.example:{hook.port}/", b"body", {})
    assert not hook.came


def test_a_redirect_away_from_tls_is_refused(certified: Certified, hook: Hook) -> None:
    """The body would go through the network for all to read."""
    away = {"Location": f"{hook.url}/"}
    with (
        served(Hook(status=307, headers=away), tls=certified.server) as first,
        pytest.raises(ForbiddenAddressError, match="from https to http"),
    ):
        outgoing(tls=certified.client).post(f"https://hook.example:{first.port}/", b"body", {})
    assert not hook.came


def test_a_handshake_that_never_ends_is_cut_off() -> None:
    """A time-out holds for the whole, TLS included."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(DeliveryFailedError, match=r"took longer than 0\.3 seconds"),
    ):
        outgoing(timeout=0.3).post(f"https://hook.example:{listener.getsockname()[1]}/", b"", {})
