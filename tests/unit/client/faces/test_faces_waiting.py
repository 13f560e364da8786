"""Waiting through both faces: by events, by long polls, by looks; over restarts, and never longer than asked for."""

import asyncio
import gc
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

import wildcast
from wildcast import _endpoint, _watching
from wildcast._api import Api, AsyncApi
from wildcast._async_execution import AsyncExecution
from wildcast._execution import Execution
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import utc_now

WAYS = ["events", "long polls", "looks"]


@pytest.fixture
def bring(api):
    """Bring executions to their end from threads that end with the test."""
    threads = []

    def start(name, pause=0.15):
        threads.append(api.go_through(name, pause))

    yield start
    for thread in threads:
        thread.join(20)


@pytest.fixture(params=WAYS)
def way(request, api, earth2):
    """Let the server have one way of telling what happens, and none that is better."""

    def without_events(asked):
        return JSONResponse({"detail": "Not Found"}, 404) if asked.url.path.endswith("events") else None

    def neither(asked):
        return earth2(asked) or (JSONResponse({"detail": "no"}, 422) if "wait=" in asked.url.query else None)

    api.meddle = {"events": None, "long polls": without_events, "looks": neither}[request.param]
    return request.param


def test_waiting_ends_with_the_result(api, client, bring, way):
    """By whatever way the server has, and with few questions where it tells by itself."""
    execution = client.get("wf", api.add(1))
    bring(execution.id)
    result = execution.wait(timeout=60)
    assert result.fs.cat("a.txt") == b"text"
    assert execution.last_status.status is Status.COMPLETED
    polls = [seen for seen in api.asked("status") if "wait=" in seen.query]
    looks = [seen for seen in api.asked("status") if "wait=" not in seen.query]
    assert len(api.asked("events")) == 1
    if way == "events":
        assert (len(polls), len(looks)) == (0, 2)
    elif way == "long polls":
        assert len(polls) <= 5
        assert all("if-none-match" in seen.headers for seen in polls)
        assert len(looks) == 2
    else:
        assert len(polls) <= 1
        assert len(looks) > 3


@pytest.mark.usefixtures("way")
def test_events_are_told_as_they_happen(api, client):
    """Typed, in order, each once, from where the execution stands to its end."""
    execution = client.get("wf", api.add(1))
    events = execution.events()
    assert next(events).status is Status.QUEUED
    api.run(execution.id)
    assert next(events).status is Status.RUNNING
    api.report(execution.id, current_step=1, total_steps=2)
    event = next(events)
    assert isinstance(event, wildcast.ProgressEvent)
    assert event.progress == {"progress": None, "current_step": 1, "total_steps": 2}
    upload = {"files_done": 1, "files_total": 2, "bytes_done": 5, "bytes_total": 9}
    api.report(execution.id, current_step=1, total_steps=2, publication=upload)
    event = next(events)
    assert isinstance(event, wildcast.UploadEvent)
    assert (event.upload.bytes_done, event.upload.bytes_total) == (5, 9)
    assert execution.last_status.publishing == event.upload
    assert execution.last_status.progress["current_step"] == 1
    api.fail(execution.id)
    status, end = list(events)
    assert (status.status, status.answer.error_message) == (Status.FAILED, "ValueError: no such variable")
    assert end == wildcast.EndEvent(status=Status.FAILED, error_message="ValueError: no such variable")


def test_who_stops_listening_closes_the_stream(api, client):
    """Nothing stays open at the server."""
    execution = client.get("wf", api.add(1))
    events = execution.events()
    next(events)
    api.run(execution.id)
    next(events)
    _wait_for(lambda: api.streams == 1)
    events.close()
    _wait_for(lambda: api.streams == 0)


def test_an_execution_that_has_ended_needs_one_look(api, client):
    """No stream is opened for what can change no more."""
    execution = client.get("wf", api.add(1))
    api.run(execution.id)
    api.fail(execution.id)
    with pytest.raises(wildcast.ExecutionFailedError, match="no such variable"):
        execution.wait(timeout=60)
    assert [seen.last for seen in api.seen] == ["status", "status"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seconds", [0, 0.3, 1.5])
def test_a_wait_ends_at_its_own_time(api, client, seconds):
    """Neither sooner nor half a second later, whatever HTTP's own time is."""
    execution = client.get("wf", api.add(1))
    began = time.monotonic()
    with pytest.raises(wildcast.WaitTimeoutError, match="still queued"):
        execution.wait(timeout=seconds)
    assert seconds <= time.monotonic() - began < seconds + 0.5


def test_a_wait_by_events_ends_at_its_own_time(api, client, monkeypatch):
    """Near the end the stream is left for a long poll, which ends when it is told to."""
    monkeypatch.setattr(_watching, "SILENCE", 1.0)
    execution = client.get("wf", api.add(1))
    began = time.monotonic()
    api_runs = threading.Timer(0.3, api.run, [execution.id])
    api_runs.start()
    with pytest.raises(wildcast.WaitTimeoutError, match="still running"):
        execution.wait(timeout=2.2)  # However late the event is: what is left after its second is less than one.
    assert 2.2 <= time.monotonic() - began < 2.7
    assert len(api.asked("events")) >= 1
    assert any("wait=" in seen.query for seen in api.asked("status"))
    _wait_for(lambda: api.streams == 0)


@pytest.mark.parametrize("silent", ["status", "events"])
def test_a_server_that_says_nothing_does_not_hold_a_wait(api, client, monkeypatch, silent):
    """The deadline holds for a request that is not answered, too."""
    monkeypatch.setattr(_watching, "SILENCE", 0.5)
    execution = client.get("wf", api.add(1))
    gate = threading.Event()

    def say_nothing(request):
        if not request.url.path.endswith(silent):
            return None

        async def hang(_scope, receive, _send):
            while not gate.is_set() and (await receive())["type"] != "http.disconnect":
                pass

        return hang

    api.meddle = say_nothing
    began = time.monotonic()
    with pytest.raises(wildcast.WaitTimeoutError, match="it goes on"):
        execution.wait(timeout=1)
    assert 1 <= time.monotonic() - began < 1.5
    gate.set()


def test_a_server_that_answers_in_drips_does_not_hold_a_wait(api, client):
    """However often a byte arrives: no pause is silence, and the deadline holds all the same."""
    execution = client.get("wf", api.add(1))

    async def drips():
        for _ in range(30):
            yield b" "
            await asyncio.sleep(0.2)

    api.meddle = lambda _: StreamingResponse(drips(), media_type="application/json")
    began = time.monotonic()
    with pytest.raises(wildcast.WaitTimeoutError, match="it goes on"):
        execution.wait(timeout=1)
    assert 1 <= time.monotonic() - began < 1.5


FACES = {
    "sync": lambda url: Execution(Api(url), "wf", "exec_1_00000001").wait(timeout=1),
    "async": lambda url: asyncio.run(AsyncExecution(AsyncApi(url), "wf", "exec_1_00000001").wait(timeout=1)),
}


@pytest.mark.parametrize("face", FACES)
def test_a_head_in_drips_does_not_hold_a_wait(face):
    """Nor does what comes before the answer."""
    began = time.monotonic()
    with _dripping() as url, pytest.raises(wildcast.WaitTimeoutError, match="has not been heard of"):
        FACES[face](url)
    assert 1 <= time.monotonic() - began < 1.5


@contextmanager
def _dripping():
    """A server that sends a byte of its answer's head every fifth of a second; gives its URL."""
    over = threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            for byte in b"HTTP/1.1 200 OK and so on and on, for much longer than anybody waits":
                connection.send(bytes([byte]))
                if over.wait(0.2):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        over.set()
        thread.join(20)


@pytest.mark.parametrize("code", [503, 429])
@pytest.mark.parametrize("about", ["status", "results"])
def test_an_outage_at_the_deadline_is_the_deadlines(api, client, code, about):
    """The time is up long before a restart's two minutes are: so it says, and the error beneath says why."""
    name = api.add(1)
    execution = client.get("wf", name)
    if about == "results":
        for step in (api.run, api.publish, api.complete):
            step(name)

    def gone(request):
        if not request.url.path.endswith(("events", about)):
            return None
        return JSONResponse({"error": "starting"}, code, {"Retry-After": "0"})

    api.meddle = gone
    began = time.monotonic()
    with pytest.raises(wildcast.WaitTimeoutError, match=f"{name} (has|was|is)") as caught:
        execution.wait(timeout=1)
    assert 1 <= time.monotonic() - began < 1.5
    assert isinstance(caught.value.__cause__, wildcast.ServerUnavailableError | wildcast.ServerBusyError)


def test_a_stream_that_is_lost_is_taken_up_again(api, client, monkeypatch):
    """With the id of the last event, so that nothing is told twice and nothing is missed."""
    monkeypatch.setattr(_watching, "_SHORT", 0.0)
    execution = client.get("wf", api.add(1))
    events = execution.events()
    assert next(events).status is Status.QUEUED
    api.run(execution.id)
    assert next(events).status is Status.RUNNING
    api.stop()
    api.fail(execution.id)
    api.start()
    assert [type(event) for event in events] == [wildcast.StatusEvent, wildcast.EndEvent]
    api.stop()
    assert len(api.asked("events")) == 1


def test_a_stream_that_was_cut_resumes_behind_the_last_event(api, client, monkeypatch):
    """The server hears the id, and tells what has changed since."""
    monkeypatch.setattr(_watching, "_SHORT", 0.0)
    execution = client.get("wf", api.add(1))
    answer = b'event: progress\nid: 7\ndata: {"current_step": 1}\n\n'
    api.meddle = lambda request: (
        StreamingResponse(iter([answer]), media_type="text/event-stream")
        if request.url.path.endswith("events") and len(api.asked("events")) == 1
        else None
    )
    events = execution.events()
    assert next(events).status is Status.QUEUED
    assert next(events).progress == {"current_step": 1}
    api.run(execution.id)
    assert next(events).status is Status.RUNNING
    api.report(execution.id, current_step=2)
    assert next(events).progress["current_step"] == 2
    events.close()
    assert [seen.headers.get("last-event-id") for seen in api.asked("events")] == [None, "7"]


@pytest.mark.parametrize("moment", ["running", "pending_results"])
def test_waiting_survives_a_restart(api, client, moment):
    """Whatever it was doing, and by whatever way it was told."""
    execution = client.get("wf", api.add(1))
    api.run(execution.id)
    if moment == "pending_results":
        api.publish(execution.id)

    def restart():
        time.sleep(0.4)
        api.stop()
        time.sleep(0.5)
        if moment == "running":
            api.publish(execution.id)
        api.complete(execution.id)
        api.start()

    thread = threading.Thread(target=restart)
    thread.start()
    assert execution.wait(timeout=60).paths == ("a.txt",)
    thread.join()


def test_a_server_that_is_busy_is_waited_for(api, client, bring):
    """A proxy that lets nobody in for a moment does not end the waiting."""
    execution = client.get("wf", api.add(1))
    left = [4]

    def busy(_request):
        left[0] -= 1
        return JSONResponse({"error": "slow down"}, 429, {"Retry-After": "0"}) if left[0] >= 0 else None

    api.meddle = busy
    bring(execution.id, 0.1)
    assert execution.wait(timeout=60).paths == ("a.txt",)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Response("<h1>hello</h1>", media_type="text/html"),
        lambda: StreamingResponse(iter([b"event: status\nid: 1\ndata: {}\n\n"]), media_type="text/event-stream"),
        lambda: StreamingResponse(iter([]), media_type="text/event-stream"),
        lambda: StreamingResponse(
            iter([b"junk"]), headers={"Content-Encoding": "gzip"}, media_type="text/event-stream"
        ),
        lambda: Response(status_code=204),
        lambda: JSONResponse({"error": "no"}, 502),
    ],
    ids=["page", "other events", "nothing", "garbled", "told already", "bad gateway"],
)
def test_streams_that_a_proxy_breaks_are_done_without(api, client, bring, broken):
    """After some tries, the next way is used."""
    execution = client.get("wf", api.add(1))
    api.meddle = lambda request: broken() if request.url.path.endswith("events") else None
    bring(execution.id, 0.5)
    assert execution.wait(timeout=60).paths == ("a.txt",)
    assert 1 <= len(api.asked("events")) <= 3
    assert any("wait=" in seen.query for seen in api.asked("status"))


@pytest.mark.parametrize("headers", [{}, {"ETag": '"1"'}], ids=["no version", "a version"])
def test_a_server_that_ignores_the_wait_is_not_asked_without_end(api, client, headers):
    """It answers at once, with a version or not: it is asked as seldom as one that has no such thing."""
    execution = client.get("wf", api.add(1))
    status = {"workflow_name": "wf", "execution_id": execution.id, "status": "queued"}
    api.meddle = lambda request: (
        JSONResponse(status, headers=headers)
        if request.url.path.endswith("status")
        else JSONResponse({"detail": "Not Found"}, 404)
    )
    with pytest.raises(wildcast.WaitTimeoutError):
        execution.wait(timeout=2)
    assert len(api.asked("status")) < 20


def test_an_execution_that_is_deleted_meanwhile_ends_the_wait(api, client):
    """As unknown, by its name."""
    execution = client.get("wf", api.add(1))
    api.run(execution.id)

    def delete():
        _wait_for(lambda: api.streams == 1)
        api.fail(execution.id)
        api.records.mark(execution.id, expected=Status.FAILED, deleted_at=utc_now())

    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises((wildcast.UnknownExecutionError, wildcast.ExecutionFailedError), match=execution.id):
        execution.wait(timeout=60)
    thread.join()


def test_ctrl_c_ends_the_waiting_alone(api, capsys):
    """The execution goes on, its name is in the traceback, and no connection stays open."""
    with wildcast.Client(api.url) as client:
        execution = client.get("wf", api.add(1))
        main = threading.main_thread().ident
        threading.Timer(0.7, signal.pthread_kill, [main, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt) as caught:
            execution.wait(timeout=20, progress=True)
        assert execution.id in caught.value.__notes__[0]
        assert execution.status().status is Status.QUEUED
    _wait_for(lambda: api.streams == 0)
    assert "wf" in capsys.readouterr().err


async def _cancelled(api, name) -> None:
    async with wildcast.AsyncClient(api.url) as client:
        execution = await client.get("wf", name)
        waiting = asyncio.create_task(execution.wait())
        await asyncio.to_thread(_wait_for, lambda: api.streams == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(_wait_for, lambda: api.streams == 0)
        assert (await execution.status()).status is Status.QUEUED


def test_a_cancelled_task_closes_its_stream(api):
    """The server sees it go, and the execution does not mind."""
    asyncio.run(_cancelled(api, api.add(1)))
    gc.collect()


async def _together(api, names) -> list[str]:
    async with wildcast.AsyncClient(api.url) as client:
        executions = [await client.get("wf", name) for name in names]
        results = await asyncio.gather(*(execution.wait(timeout=60) for execution in executions))
        return [result.metadata.request_id for result in results]


def test_many_are_awaited_at_once(api, bring):
    """One loop waits for all of them."""
    names = [api.add(number) for number in range(5)]
    for name in names:
        bring(name)
    assert asyncio.run(_together(api, names)) == names


def test_few_keep_a_connection_open(api, bring, monkeypatch):
    """However many wait: the others look, so that a large ensemble does not wait for connections."""
    monkeypatch.setattr(_endpoint, "LISTENERS", 2)
    names = [api.add(number) for number in range(6)]
    for name in names:
        bring(name, pause=0.5)
    assert asyncio.run(_together(api, names)) == names
    assert len(api.asked("events")) == 2
    assert not any("wait=" in seen.query for seen in api.seen)


def test_a_place_is_given_back(api, client):
    """By those who go before the end, and by those whose time is up."""
    execution = client.get("wf", api.add(1))
    places = execution._api._listeners
    events = execution.events()
    next(events)
    assert places._value == _endpoint.LISTENERS - 1
    events.close()
    with pytest.raises(wildcast.WaitTimeoutError):
        execution.wait(timeout=0.1)
    assert places._value == _endpoint.LISTENERS


def test_an_async_client_outlives_its_loop(api):
    """In the next loop it opens connections of its own."""
    client = wildcast.AsyncClient(api.url)

    async def ask():
        try:
            return await client.workflows()
        finally:
            await client.aclose()

    assert asyncio.run(ask()) == asyncio.run(ask()) == {"wf": "Make data."}


def _wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
