"""Long polls: an answer as soon as something changes."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api import create_api, status
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Threads
from wildcast_server.api.waiting import TICK_SECONDS, Waiting
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import ServiceUnavailableError, UnknownExecutionError
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"
STATUS = f"/v1/infer/results/{ID}/status"

SOON = 2.0
"""Seconds; far more than an answer takes, and far less than anybody waits here."""


class CountingRecords(MemoryRecords):
    """Records that note how many executions each query was about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.error: Exception | None = None

    def standings(self, execution_ids):
        self.asked.append(len(execution_ids))
        if self.error:
            raise self.error
        return super().standings(execution_ids)


@pytest.fixture
def counting() -> CountingRecords:
    """Such records, with one execution."""
    made = CountingRecords()
    made.insert(Execution(id=ID, workflow_name="results", parameters={}))
    return made


@pytest.fixture
def queued(records):
    """One execution."""
    return records.insert(Execution(id=ID, workflow_name="results", parameters={})).execution


@pytest.fixture
def poll(api):
    """Ask in another thread, which tells the answer and for how many seconds it waited."""
    with ThreadPoolExecutor() as threads:

        def ask(wait, **headers):
            def do():
                began = time.monotonic()
                answer = api.get(STATUS, params={"wait": wait}, headers=headers)
                return answer, time.monotonic() - began

            return threads.submit(do)

        yield ask


def _wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def await_waiters(records, monkeypatch):
    """Return when somebody waits: the records were asked once more than for the first look."""
    asked = []
    standings = records.standings

    def counted(execution_ids):
        asked.append(execution_ids)
        return standings(execution_ids)

    monkeypatch.setattr(records, "standings", counted)
    return lambda: _wait_for(lambda: len(asked) > 1)


async def _until_asked(records: CountingRecords, times: int) -> None:
    async with asyncio.timeout(10):
        while len(records.asked) < times:  # noqa: ASYNC110 - another thread asks
            await asyncio.sleep(0.005)


def _run(records: MemoryRecords, scenario) -> object:
    async def main() -> object:
        threads = Threads("lookup", 1)
        try:
            return await scenario(Waiting(Standings(Lookup(records), threads), tick=0.02))
        finally:
            threads.close(time.monotonic() + 5)

    return asyncio.run(main())


@pytest.mark.usefixtures("queued")
def test_an_answer_comes_with_the_change(poll, records, await_waiters):
    """Within a tick or two, and says what has changed."""
    asked = poll(30)
    await_waiters()
    assert not asked.done()
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    changed = time.monotonic()
    answer, _ = asked.result(10)

    assert answer.json()["status"] == "running"
    assert time.monotonic() - changed < 2 * TICK_SECONDS + 0.5


@pytest.mark.parametrize("change", ["progress", "position", "cancel"])
def test_every_change_is_one(poll, records, change, await_waiters):
    """Not the status alone."""
    records.insert(Execution(id="exec_1_00000000", workflow_name="results", parameters={}))
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    if change == "progress":
        records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    asked = poll(30)
    await_waiters()
    match change:
        case "progress":
            records.set_progress(ID, 1, {"current_step": 3})
        case "position":
            records.change("exec_1_00000000", expected=Status.QUEUED, to=Status.RUNNING)
        case "cancel":
            records.mark(ID, expected=Status.QUEUED, cancel=True)
    answer, seconds = asked.result(10)

    assert answer.status_code == 200
    assert seconds < 10
    assert answer.json()["position"] == {"progress": None, "position": 0, "cancel": 1}[change]


@pytest.mark.usefixtures("queued")
def test_if_nothing_changes_the_answer_says_so(api):
    """After so many seconds; with a version, that is 304."""
    etag = api.get(STATUS).headers["etag"]
    began = time.monotonic()
    plain = api.get(STATUS, params={"wait": 0.5})
    conditional = api.get(STATUS, params={"wait": 0.5}, headers={"If-None-Match": etag})

    assert time.monotonic() - began >= 1
    assert (plain.status_code, plain.json()["status"]) == (200, "queued")
    assert (conditional.status_code, conditional.content) == (304, b"")


@pytest.mark.usefixtures("queued")
def test_nobody_waits_longer_than_the_longest(api, monkeypatch):
    """Who asks for more is answered all the same."""
    monkeypatch.setattr(status, "LONGEST_WAIT", 0.2)
    began = time.monotonic()
    assert api.get(STATUS, params={"wait": 3600}).status_code == 200
    assert time.monotonic() - began < SOON


@pytest.mark.usefixtures("published")
def test_what_has_ended_is_not_waited_for(api):
    """Whoever asks until it has ended would wait for nothing."""
    began = time.monotonic()
    assert api.get(STATUS, params={"wait": 30}).json()["status"] == "completed"
    assert time.monotonic() - began < SOON


@pytest.mark.usefixtures("queued")
def test_what_changed_in_between_is_not_missed(api, records):
    """A client that has an older version is answered at once."""
    etag = api.get(STATUS).headers["etag"]
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    began = time.monotonic()
    answer = api.get(STATUS, params={"wait": 30}, headers={"If-None-Match": etag})

    assert answer.json()["status"] == "running"
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon"])
@pytest.mark.usefixtures("queued")
def test_what_is_no_number_of_seconds_is_refused(api, wait):
    """With 422, which names it."""
    answer = api.get(STATUS, params={"wait": wait})
    assert answer.status_code == 422
    assert "wait" in answer.json()["error"]


@pytest.mark.usefixtures("queued")
def test_records_that_fail_meanwhile_are_told(poll, records, await_waiters):
    """As they are without waiting: 503, and when to come again."""
    asked = poll(30)
    await_waiters()
    records.error = ServiceUnavailableError("the database cannot be used now")
    answer, seconds = asked.result(10)

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert seconds < 10


@pytest.mark.usefixtures("published")
def test_a_deleted_execution_is_told(poll, records, await_waiters):
    """It is unknown from then on."""
    etag = f'W/"v{records.get(ID).version}"'
    asked = poll(30, **{"If-None-Match": etag})
    await_waiters()
    records.mark(ID, expected=Status.COMPLETED, deleted_at=utc_now())
    answer, seconds = asked.result(10)

    assert answer.status_code == 404
    assert seconds < 10


@pytest.mark.usefixtures("queued")
def test_a_server_that_stops_answers_who_waits(use_cases, await_waiters):
    """At once, with what it knows: nobody holds its stop up."""
    bound = bind("127.0.0.1", 0, "api")
    with ThreadPoolExecutor() as threads, httpx.Client(base_url=url_of(bound), timeout=30) as client:
        with ServerThread("API", create_api(use_cases, max_body_bytes=1000), bound):
            asked = threads.submit(client.get, STATUS, params={"wait": 30})
            await_waiters()
            stopping = time.monotonic()
        took = time.monotonic() - stopping
        answer = asked.result(10)

    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert took < SOON


def test_a_thousand_who_wait_are_one_query_a_tick(counting):
    """About each execution once, however many wait for it; and none when nobody waits any more."""
    other = "exec_1_00000002"
    counting.insert(Execution(id=other, workflow_name="results", parameters={}))

    async def scenario(waiting: Waiting) -> list[object]:
        before = Lookup(counting).standings([ID, other])
        counting.asked.clear()
        told = [
            asyncio.ensure_future(waiting.changed("results", before[name], 30))
            for name in (ID, other)
            for _ in range(500)
        ]
        await _until_asked(counting, 5)
        assert not any(each.done() for each in told)
        counting.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
        counting.change(other, expected=Status.QUEUED, to=Status.RUNNING)
        found = await asyncio.wait_for(asyncio.gather(*told), 10)
        queries = len(counting.asked)
        await asyncio.sleep(0.1)
        assert len(counting.asked) == queries
        return found

    found = _run(counting, scenario)
    assert [standing.execution.status for standing in found] == [Status.RUNNING] * 1000
    assert set(counting.asked) == {2}
    assert len(counting.asked) <= 8


def test_who_goes_away_is_not_looked_for_any_more(counting):
    """A client that hangs up costs nothing."""

    async def scenario(waiting: Waiting) -> None:
        before = Lookup(counting).standings([ID])[ID]
        told = asyncio.ensure_future(waiting.changed("results", before, 30))
        await _until_asked(counting, 3)
        told.cancel()
        await asyncio.gather(told, return_exceptions=True)
        # The look that was under way.
        await asyncio.sleep(0.1)
        queries = len(counting.asked)
        await asyncio.sleep(0.1)
        assert len(counting.asked) == queries

    _run(counting, scenario)


@pytest.mark.usefixtures("queued")
def test_a_client_that_hangs_up_is_noticed(api, records):
    """Its request ends with it, and nobody asks the records for it."""
    asked = []
    standings = records.standings
    records.standings = lambda ids: asked.append(ids) or standings(ids)
    host, port = api.base_url.host, api.base_url.port
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"GET {STATUS}?wait=60 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        _wait_for(lambda: len(asked) >= 3)

    def is_quiet() -> bool:
        before = len(asked)
        time.sleep(3 * TICK_SECONDS)
        return len(asked) == before

    _wait_for(is_quiet)


def test_another_workflows_execution_is_unknown(counting):
    """Also to who waits."""

    async def scenario(waiting: Waiting) -> None:
        before = Lookup(counting).standings([ID])[ID]
        with pytest.raises(UnknownExecutionError):
            await waiting.changed("other", before, 30)

    _run(counting, scenario)


def test_after_the_end_nobody_waits(counting):
    """Those who wait are let go by any thread, and those who come later do not begin."""

    async def scenario(waiting: Waiting) -> None:
        before = Lookup(counting).standings([ID])[ID]
        told = asyncio.ensure_future(waiting.changed("results", before, 30))
        await asyncio.sleep(0)
        thread = threading.Thread(target=waiting.end)
        thread.start()
        assert await asyncio.wait_for(told, 5) is before
        assert await asyncio.wait_for(waiting.changed("results", before, 30), 5) is before
        assert waiting.has_ended
        thread.join()

    _run(counting, scenario)
