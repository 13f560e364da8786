"""Renewal of signed URLs, back-off, and what survives pickling."""

import asyncio
import contextlib
import pickle
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import wildcast
from wildcast._api import Api
from wildcast._execution_source import ExecutionSource
from wildcast._fixed_source import FixedSource
from wildcast._retry import LONGEST_RETRY_AFTER, Retry, parse_retry_after
from wildcast._sessions import proxy_for
from wildcast._sources import ApiSource, LastFailure, ServerSource, link_of, parse
from wildcast.contract.wire import ResultMetadata

TOKEN = "canary-token"


class RenewingApi:
    """An API whose every answer has another signature."""

    def __init__(self, cdn) -> None:
        self.cdn, self.calls, self.status, self.base = cdn, 0, 200, cdn.base
        self.sentence = "out of order"
        self.hold = threading.Event()
        self.hold.set()

    def results(self, request):
        assert self.hold.wait(20)
        self.calls += 1
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": "no"}, 401)
        if self.status == 202:
            return JSONResponse({"message": "not yet", "status": "running"}, 202)
        if self.status != 200:
            return JSONResponse({"error": self.sentence, "details": None}, self.status)
        signature = f"fresh{self.calls}"
        self.cdn.accepted = {signature}
        url = self.cdn.signed(signature=signature).replace(self.cdn.base, self.base)
        return JSONResponse(metadata(self.cdn, url))


def metadata(cdn, url):
    return {
        "request_id": cdn.execution,
        "status": "completed",
        "completion_time": None,
        "execution_time_seconds": None,
        "workflow_name": "wf",
        "created_at": None,
        "parameters": {},
        "storage_type": "s3",
        "remote_path": None,
        "signed_url": url,
        "output_files": [{"path": f"{cdn.execution}/{p}", "size": len(b)} for p, b in cdn.objects.items()],
    }


@pytest.fixture
def renewing(cdn, serve_app):
    """An API that renews; its `source(**…)` makes the source under test."""
    api = RenewingApi(cdn)
    with serve_app(Starlette(routes=[Route("/v1/infer/wf/{execution}/results", api.results)])) as url:

        def source(expires_in=3600.0, clock=time.monotonic, wall=time.time):
            client = Api(url, TOKEN, retry=Retry(attempts=1))
            first = parse(cdn.signed(expires_in=expires_in))
            return ApiSource(client, "wf", cdn.execution, first, clock=clock, wall=wall)

        api.source = source
        yield api


def filesystem(cdn, source):
    return wildcast.SignedFileSystem(source, retry=cdn.retry)


def test_a_refused_url_is_renewed_once_however_many_wait(cdn, renewing):
    """A hundred readers of an ended URL cost one renewal, and all of them get their bytes."""
    cdn.publish(a=b"data")
    cdn.accepted = set()
    fs = filesystem(cdn, renewing.source())
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: fs.cat_file("a"), range(100))) == {b"data"}
    assert renewing.calls == 1


def test_a_url_that_is_refused_again_is_an_error(cdn, renewing):
    """A second refusal, with a fresh URL, is final."""
    cdn.publish(a=b"data")
    fs = filesystem(cdn, renewing.source())
    cdn.fault = lambda path, _: Response("no", 403) if path == "a" else None
    with pytest.raises(wildcast.AccessRefusedError):
        fs.cat_file("a")
    assert cdn.asked("a") == 2
    assert renewing.calls == 1


@pytest.mark.parametrize(("lifetime", "before"), [(3600, 60), (40, 10)])
def test_a_url_is_renewed_before_it_ends(cdn, renewing, lifetime, before):
    """Renewal comes 60 seconds before the end, or a quarter of the lifetime where that is shorter."""
    now = [1000.0]
    end = parse(cdn.signed(expires_in=lifetime)).expires_at.timestamp()
    source = renewing.source(lifetime, clock=lambda: now[0], wall=lambda: end - lifetime)
    now[0] += lifetime - before - 1
    assert not source.is_due()
    now[0] += 1
    assert source.is_due()


def test_reading_renews_a_url_that_is_about_to_end(cdn, renewing):
    """A reader never sees the refusal that an ending URL would give."""
    cdn.publish(a=b"data")
    now = [0.0]
    source = renewing.source(clock=lambda: now[0])
    fs = filesystem(cdn, source)
    now[0] += 3600
    cdn.accepted = {"fresh1"}
    assert fs.cat_file("a") == b"data"
    assert cdn.asked("a") == 1


def test_a_url_that_is_still_good_is_used_while_the_api_is_down(cdn, renewing):
    """An API that fails shortly before the end does not stop the reading."""
    cdn.publish(a=b"data")
    renewing.status = 500
    now = [0.0]
    source = renewing.source(clock=lambda: now[0])
    fs = filesystem(cdn, source)
    now[0] += 3590
    assert [fs.cat_file("a") for _ in range(20)] == [b"data"] * 20
    source._renewer.join(20)
    assert renewing.calls == 1


def test_attempts_to_renew_become_rarer(renewing):
    """Each follows the failure of the one before, after a time that doubles; a success makes it short again."""
    now = [0.0]
    source = renewing.source(clock=lambda: now[0])
    pauses = []
    for renewing.status in (500, 500, 404, 500, 500, 500, 200, 500):
        now[0] = max(now[0], 3540)
        with contextlib.suppress(wildcast.ApiError):
            source.renew(source.current())
        pauses.append(source._due - now[0])
        now[0] = source._due
        assert source.is_due()
    assert pauses == [5, 10, 20, 40, 60, 60, pytest.approx(3540, abs=5), 5]


def test_a_silent_api_delays_nobody_while_the_url_is_good(cdn, renewing):
    """Renewing is begun behind the readers, once; when the API answers, they go on with the new URL."""
    cdn.publish(a=b"data")
    now, answering = [0.0], renewing.hold
    source = renewing.source(clock=lambda: now[0])
    fs = filesystem(cdn, source)
    now[0] += 3550
    answering.clear()
    began = time.monotonic()
    assert [fs.cat_file("a") for _ in range(20)] == [b"data"] * 20
    assert time.monotonic() - began < 5
    answering.set()
    source._renewer.join(20)
    assert renewing.calls == 1
    assert fs.cat_file("a") == b"data"
    assert "Signature=fresh1" in source.current().query
    assert not source.is_due()


def test_an_api_without_results_stops_nobody_while_the_url_is_good(cdn, renewing):
    """Neither does one that has nothing to give, as of an execution that has begun anew."""
    cdn.publish(a=b"data")
    now = [0.0]
    source = renewing.source(clock=lambda: now[0])
    fs = filesystem(cdn, source)
    renewing.status = 202
    for now[0] in (3545.0, 3555.0, 3601.0):
        assert fs.cat_file("a") == b"data"
        source._renewer.join(20)
    cdn.accepted = set()
    with pytest.raises(wildcast.AccessRefusedError, match="is running"):
        fs.cat_file("a")


def test_a_renewal_that_fails_says_why(cdn, renewing):
    """A reader whose URL was refused learns that and why there is no other one."""
    cdn.accepted = set()
    renewing.status = 500
    with pytest.raises(wildcast.AccessRefusedError, match="out of order"):
        filesystem(cdn, renewing.source()).cat_file("a")


def test_an_api_cannot_smuggle_words_into_an_error(cdn, renewing):
    """A sentence of the API with zarr's words in it does not make a refusal read as empty."""
    cdn.accepted = set()
    renewing.status, renewing.sentence = 500, "this is not satisfiable"
    with pytest.raises(wildcast.AccessRefusedError, match="not-satisfiable") as caught:
        filesystem(cdn, renewing.source()).cat_file("a")
    assert "not satisfiable" not in str(caught.value)


def test_a_publication_that_moved_is_an_error(cdn, renewing):
    """Chunks of two publications are never mixed."""
    cdn.accepted = set()
    renewing.base = f"{cdn.base}-2"
    with pytest.raises(wildcast.ResultChangedError):
        filesystem(cdn, renewing.source()).cat_file("a")


def test_a_publication_that_is_gone_is_an_error(cdn, renewing):
    """Where the API promised results, a prefix without any object is no store of fill values."""
    with pytest.raises(wildcast.LostObjectError, match="gone"):
        filesystem(cdn, renewing.source()).cat_file("a")


def test_the_api_lists_what_has_no_manifest(cdn, renewing):
    """The files that the API names stand in for a manifest."""
    cdn.objects["a"] = b"data"
    source = renewing.source()
    fs = filesystem(cdn, source)
    cdn.accepted = {cdn.signature, "fresh1"}
    assert fs.ls("", detail=False) == ["a"]


@pytest.fixture
def named(cdn, renewing):
    """A source that knows a name alone, and asks the API at the first read."""
    first = renewing.source()
    return ExecutionSource(first._api, "wf", cdn.execution)


def test_a_failed_question_is_not_repeated_by_each_reader(cdn, renewing, named):
    """A hundred that wait for the API's answer, in one loop or in many, cost one question, and all are told."""
    fs = filesystem(cdn, named)
    renewing.status = 500
    found = fs.cat([f"{number}" for number in range(100)], on_error="return")
    assert {type(error) for error in found.values()} == {wildcast.ServerUnavailableError}
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(asyncio.run, fs._cat_file(f"{number}")) for number in range(20)]
        assert {type(future.exception()) for future in asking} == {wildcast.ServerUnavailableError}
    assert renewing.calls == 1


def test_a_failed_question_is_asked_again_later(cdn, renewing, named):
    """An outage is over once it is over; and that an execution has not ended is asked as often as somebody reads."""
    cdn.publish(a=b"data")
    now = [0.0]
    named._failure = LastFailure(lambda: now[0])
    fs = filesystem(cdn, named)
    for renewing.status, now[0], expected in ((500, 0.0, wildcast.ServerUnavailableError),) + (
        (202, 6.0, wildcast.ResultsPendingError),
    ) * 2:
        with pytest.raises(expected):
            fs.cat_file("a")
    renewing.status = 200
    assert fs.cat_file("a") == b"data"
    assert renewing.calls == 4


GIVE_UP = """
import asyncio, sys, wildcast
fs = wildcast.SignedFileSystem(server=sys.argv[1], workflow="wf", execution="exec_1_00000000")
try:
    asyncio.run(asyncio.wait_for(fs._cat_file("a"), 0.2))
except TimeoutError:
    print("gave up")
"""


def test_a_process_that_gives_up_does_not_wait_for_a_silent_api():
    """Neither the end of a loop nor that of the process is held up by what has been asked in vain."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-c", GIVE_UP, f"http://127.0.0.1:{silent.getsockname()[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=25)
    assert done.stdout == "gave up\n", done.stderr


def test_pickling_carries_the_url_and_never_the_token(cdn, renewing, monkeypatch):
    """Another process has the current URL, and takes the token from its environment."""
    source = renewing.source()
    pickled = pickle.dumps(filesystem(cdn, source))
    assert TOKEN.encode() not in pickled
    assert cdn.signature.encode() in pickled
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    cdn.publish(a=b"data")
    cdn.accepted = set()
    copy = pickle.loads(pickled)  # noqa: S301 - our own bytes
    assert copy.cat_file("a") == b"data"


@pytest.mark.parametrize(("name", "quoted"), [("a/b ü", "a%2Fb%20%C3%BC"), ("..", "%2E%2E")])
def test_files_of_the_api_lie_below_its_workflow(name, quoted):
    """A workflow's name stays one segment of the path, as in every other call."""
    source = ServerSource(Api("http://h"), name, "exec_1_0")
    assert source.base == f"http://h/v1/infer/{quoted}/exec_1_0/results/exec_1_0"


def test_a_source_shows_no_secret(cdn, renewing):
    """A source's repr holds neither signature nor token."""
    text = repr(renewing.source()) + repr(FixedSource(cdn.signed())) + repr(renewing.source()._api)
    assert cdn.signature not in text
    assert TOKEN not in text


def test_the_api_tells_the_end_that_a_url_does_not(cdn):
    """A URL of a CDN without a readable policy is renewed by what the API says."""
    told = {**metadata(cdn, f"{cdn.base}/*?token=x"), "expires_at": "2030-01-01T00:00:00Z"}
    link = link_of(msgspec.convert(told, ResultMetadata))
    assert link.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


PROXIES = [
    ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
    ({"https_proxy": "http://proxy:3128", "no_proxy": "cdn.example"}, None),
    ({"http_proxy": "http://proxy:3128"}, None),
    ({"all_proxy": "socks5://proxy:1080"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("environment", "expected"), PROXIES)
def test_the_environments_proxy_is_used(monkeypatch, environment, expected):
    """Reading goes through the proxy that the environment names, unless it exempts the CDN."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("https://cdn.example/outputs") == expected


@given(st.integers(1, 40), st.one_of(st.none(), st.floats(0, 1e9)))
def test_a_pause_keeps_its_bounds(failures, asked):
    """A pause is never longer than its cap or what the server may ask, and never shorter than what it asked."""
    retry = Retry(base=0.1, cap=5.0)
    pause = retry.pause(failures, asked)
    assert min(asked or 0.0, LONGEST_RETRY_AFTER) <= pause <= max(5.0, LONGEST_RETRY_AFTER)
    assert pause >= min(5.0, 0.1 * 2 ** (failures - 1)) / 2


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("3", 3.0), ("soon", None), ("-1", None), ("", None)])
def test_retry_after_in_seconds(text, seconds):
    """A Retry-After of seconds is read, and junk is ignored."""
    assert parse_retry_after(text) == seconds


def test_retry_after_as_a_date():
    """A Retry-After with a date is the time until then."""
    moment = datetime.now(UTC) + timedelta(seconds=30)
    assert parse_retry_after(moment.strftime("%a, %d %b %Y %H:%M:%S GMT")) == pytest.approx(30, abs=2)
