"""Server-sent events: what happens to an execution, as it happens."""

import json
import threading
import time
from contextlib import suppress

import httpx
import pytest
from fastapi import FastAPI

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api import create_api
from wildcast_server.api.events import event_routes
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Threads
from wildcast_server.api.waiting import Waiting
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"
EVENTS = f"/v1/infer/results/{ID}/events"

UPLOAD = {"files_done": 1, "files_total": 2, "bytes_done": 5, "bytes_total": 9}


@pytest.fixture
def queued(records):
    """One execution."""
    return records.insert(Execution(id=ID, workflow_name="results", parameters={})).execution


class Stream:
    """What a server sends, read in a thread."""

    def __init__(self, client: httpx.Client, **headers: str) -> None:
        self.lines: list[str] = []
        self.ended = threading.Event()
        self.response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, args=(client, headers), daemon=True)
        self._thread.start()

    def _read(self, client: httpx.Client, headers: dict[str, str]) -> None:
        # At the end of a test that reads no further.
        with (
            suppress(httpx.TransportError, httpx.StreamError),
            client.stream("GET", EVENTS, headers=headers) as response,
        ):
            self.response = response
            for line in response.iter_lines():
                self.lines.append(line)
        self.ended.set()

    @property
    def events(self) -> list[tuple[str, str | None, dict]]:
        """Name, id and data of each event that is there as a whole."""
        blocks = "".join(f"{line}\n" for line in self.lines).split("\n\n")[:-1]
        found = []
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith((":", "retry")))
            if fields:
                found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
        return found

    def names(self) -> list[str]:
        return [name for name, _, _ in self.events]

    def wait_for(self, number: int) -> None:
        """Return when there are so many events."""
        _wait_for(lambda: len(self.events) >= number)


def _wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("queued")
def test_all_that_happens_is_told_in_order(api, records):
    """From the first status to the end, each with the execution's version as its id."""
    stream = Stream(api)
    stream.wait_for(1)
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    stream.wait_for(2)
    records.set_progress(ID, 1, {"current_step": 3, "total_steps": 9})
    stream.wait_for(3)
    records.set_progress(ID, 1, {"current_step": 3, "total_steps": 9, "publication": UPLOAD})
    stream.wait_for(4)
    records.change(ID, expected=Status.RUNNING, to=Status.FAILED, error_message="it broke")
    assert stream.ended.wait(10)

    assert stream.names() == ["status", "status", "progress", "upload", "status", "end"]
    told = [data for _, _, data in stream.events]
    assert [told[0]["status"], told[1]["status"], told[4]["status"]] == ["queued", "running", "failed"]
    assert told[2] == {"progress": None, "current_step": 3, "total_steps": 9}
    assert told[3] == UPLOAD
    assert told[5] == {"status": "failed", "error_message": "it broke"}
    ids = [each for _, each, _ in stream.events]
    assert ids[4] is None
    assert ids[5] == str(records.get(ID).version)
    assert [int(each) for each in ids if each] == sorted({int(each) for each in ids if each})


@pytest.mark.usefixtures("queued")
def test_its_head(api):
    """It says what comes, is not kept, and is not gathered by a proxy."""
    stream = Stream(api)
    stream.wait_for(1)
    headers = stream.response.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert stream.lines[0].startswith("retry: ")
    answer = api.head(EVENTS, timeout=5)
    assert (answer.status_code, answer.headers["content-type"]) == (200, headers["content-type"])


@pytest.mark.usefixtures("queued")
def test_one_change_may_be_several_events(api, records):
    """The last one has the id, so that who loses one of them is told all again."""
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    stream = Stream(api)
    stream.wait_for(1)
    records.set_progress(ID, 1, {"current_step": 1, "publication": UPLOAD})
    stream.wait_for(3)
    assert [(name, each is None) for name, each, _ in stream.events[1:]] == [("progress", True), ("upload", False)]


def test_to_move_up_in_the_queue_is_told(api, records):
    """With the whole status."""
    records.insert(Execution(id="exec_1_00000000", workflow_name="results", parameters={}))
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    stream = Stream(api)
    stream.wait_for(1)
    records.change("exec_1_00000000", expected=Status.QUEUED, to=Status.RUNNING)
    stream.wait_for(2)
    assert [(name, data["position"]) for name, _, data in stream.events] == [("status", 1), ("status", 0)]


@pytest.mark.usefixtures("queued")
def test_who_comes_back_is_told_what_is_new_and_nothing_twice(api, records):
    """By the id of the last event."""
    first = Stream(api)
    first.wait_for(1)
    last = first.events[-1][1]
    again = Stream(api, **{"Last-Event-ID": last})
    _wait_for(lambda: again.lines)
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    again.wait_for(1)
    late = Stream(api, **{"Last-Event-ID": last})
    late.wait_for(1)

    assert [data["status"] for _, _, data in again.events] == ["running"]
    assert [data["status"] for _, _, data in late.events] == ["running"]


@pytest.mark.usefixtures("published")
def test_what_has_ended_is_told_at_once(api):
    """And to who knows it already, that there is nothing more: a browser stops connecting then."""
    stream = Stream(api)
    assert stream.ended.wait(10)
    assert stream.names() == ["status", "end"]
    again = api.get(EVENTS, headers={"Last-Event-ID": stream.events[-1][1]})
    assert (again.status_code, again.content) == (204, b"")


@pytest.mark.usefixtures("queued")
def test_an_execution_that_is_unknown(api):
    """It is 404, as everywhere."""
    assert api.get(EVENTS.replace("exec_1_00000001", "exec_1_00000009")).status_code == 404
    assert api.get(EVENTS.replace("/results/", "/other/")).status_code == 404


@pytest.mark.usefixtures("queued")
def test_a_deleted_execution_ends_the_stream(api, records):
    """Who connects again is told that it is unknown."""
    stream = Stream(api)
    stream.wait_for(1)
    records.mark(ID, expected=Status.QUEUED, deleted_at=utc_now())
    assert stream.ended.wait(10)
    assert stream.names() == ["status"]


@pytest.mark.usefixtures("queued")
def test_records_that_are_away_do_not_end_the_stream(api, records):
    """It goes on when they are back."""
    stream = Stream(api)
    stream.wait_for(1)
    met = threading.Event()
    error = ServiceUnavailableError("the database cannot be used now")
    standings = records.standings

    def away(_execution_ids):
        met.set()
        raise error

    records.standings = away
    assert met.wait(10)
    records.standings = standings
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    stream.wait_for(2)
    assert [data["status"] for _, _, data in stream.events] == ["queued", "running"]


@pytest.mark.usefixtures("queued")
def test_a_silent_stream_has_comments(records):
    """Which tell a proxy that it still lives, and a client nothing."""
    standings = Standings(Lookup(records), Threads("lookup", 1))
    app = FastAPI()
    app.router.routes.extend(event_routes(standings, Waiting(standings), comment_seconds=0.1).routes)
    bound = bind("127.0.0.1", 0, "api")
    with ServerThread("API", app, bound), httpx.Client(base_url=url_of(bound)) as client:
        stream = Stream(client)
        _wait_for(lambda: sum(line.startswith(": ") for line in stream.lines) >= 3)
        assert stream.names() == ["status"]
        records.change(ID, expected=Status.QUEUED, to=Status.CANCELLED)
        assert stream.ended.wait(10)
        assert stream.names() == ["status", "status", "end"]


@pytest.mark.usefixtures("queued", "records")
def test_a_server_that_stops_ends_its_streams(use_cases):
    """At once, and whole: the client connects to the next one."""
    bound = bind("127.0.0.1", 0, "api")
    with httpx.Client(base_url=url_of(bound)) as client:
        with ServerThread("API", create_api(use_cases, max_body_bytes=1000), bound):
            stream = Stream(client)
            stream.wait_for(1)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 2
        assert stream.ended.wait(10)
    assert stream.names() == ["status"]


@pytest.mark.usefixtures("queued")
def test_a_client_that_hangs_up_ends_its_stream(api, records):
    """Nobody looks for it any more."""
    asked = []
    standings = records.standings
    records.standings = lambda ids: asked.append(ids) or standings(ids)
    with api.stream("GET", EVENTS) as response:
        lines = response.iter_lines()
        next(lines)
        _wait_for(lambda: len(asked) >= 3)

    def is_quiet() -> bool:
        before = len(asked)
        time.sleep(0.75)
        return len(asked) == before

    _wait_for(is_quiet)
