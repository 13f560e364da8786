"""What is slow makes nobody wait who does not need it."""

import concurrent.futures
import threading
import time

import httpx
import pytest

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import AccessDeniedError, NetworkError, ServiceUnavailableError
from wildcast_server.publish import Published
from wildcast_server.store import open_store
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results

ID = "exec_1_00000001"
FILES = 20_000


class SlowStore:
    """A store whose reads wait until a test lets them go on; it counts them."""

    def __init__(self, store) -> None:
        self._store = store
        self.uri = store.uri
        self.gate = threading.Event()
        self.reads = 0
        self.error = None

    def get(self, key, byte_range=None):
        self.reads += 1
        assert self.gate.wait(30)
        if self.error:
            raise self.error
        return self._store.get(key, byte_range)


@pytest.fixture
def slow_store():
    """A store that answers when it is told to."""
    store = SlowStore(open_store("memory://"))
    yield store
    store.gate.set()


@pytest.fixture
def complete(records, slow_store):
    """Complete executions whose manifests lie in the slow store."""

    def make(name, files=3):
        rows = [FileRow(f"a.zarr/c/{number}", 5, "AAAAAAAAAAA=", '"e"', "") for number in range(files)]
        manifest = Manifest.of(rows, execution=name, attempt=1, created_at=utc_now(), verified="crc64nvme", datasets=())
        published = Published.of(manifest, f"outputs/{name}")
        slow_store._store.put(published.publication.manifest, encode_manifest(manifest))
        records.insert(Execution(id=name, workflow_name="results", parameters={}))
        records.change(name, expected=Status.QUEUED, to=Status.RUNNING)
        records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
        record = as_record(published, 1)
        return records.change(name, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)

    return make


@pytest.fixture
def slow_api(use_cases, serve, slow_store, records):
    """The API over results in that store."""
    import dataclasses

    results = Results(use_cases.lookup, {"s3": slow_store}, None)
    yield serve(dataclasses.replace(use_cases, results=results))
    slow_store.gate.set()
    records.gate.set()


def at_once(client, path, number):
    """Ask for the same many times at once, each over its own connection."""
    base = client.base_url
    pool = concurrent.futures.ThreadPoolExecutor(number)
    return pool, [pool.submit(lambda: httpx.get(f"{base}{path}", timeout=60)) for _ in range(number)]


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slow_store_holds_up_nothing_but_what_needs_it(slow_api, slow_store, complete, records):
    """While sixty clients wait for it: liveness, status, submissions, and results that are not there yet all answer."""
    names = [complete(f"exec_1_{number:08x}").id for number in range(60)]
    records.insert(Execution(id="exec_2_00000000", workflow_name="results", parameters={}))
    base = slow_api.base_url
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        waiting = [
            pool.submit(lambda name=name: httpx.get(f"{base}/v1/infer/results/{name}/results", timeout=60))
            for name in names
        ]
        until(lambda: slow_store.reads >= 8)
        for _ in range(5):
            assert slow_api.get("/liveness", timeout=5).status_code == 200
            assert slow_api.get("/health", timeout=5).status_code == 200
            assert slow_api.get("/metrics", timeout=5).status_code == 200
            assert slow_api.get(f"/v1/infer/results/{names[0]}/status", timeout=5).status_code == 200
            assert slow_api.get(f"/v1/infer/results/{names[0]}/results?files=none", timeout=5).status_code == 200
            assert slow_api.get("/v1/infer/results/exec_2_00000000/results", timeout=5).status_code == 202
            assert slow_api.post("/v1/infer/results", json={"parameters": {}}, timeout=5).status_code == 200
        assert not any(each.done() for each in waiting)
        slow_store.gate.set()
        assert {each.result().status_code for each in waiting} == {200}


def test_records_that_hang_hold_up_no_liveness(slow_api, records):
    """Who asks for them waits, in one thread for all; the process answers."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    records.gate.clear()
    pool, waiting = at_once(slow_api, f"/v1/infer/results/{ID}/status", 60)
    for _ in range(10):
        assert slow_api.get("/liveness", timeout=5).status_code == 200
        assert slow_api.get("/v1/infer/workflows", timeout=5).status_code == 200
    assert not any(each.done() for each in waiting)
    records.gate.set()
    assert {each.result().status_code for each in waiting} == {200}
    pool.shutdown()


def test_metrics_that_hang_hold_up_no_documentation(slow_api, records):
    """Scrapers wait for records that hang; the page and the document are there."""
    records.gate.clear()
    pool, waiting = at_once(slow_api, "/metrics", 4)
    time.sleep(0.2)
    for path in ("/openapi.json", "/docs/swagger-ui.css"):
        assert slow_api.get(path, timeout=10).status_code == 200
    assert not any(each.done() for each in waiting)
    records.gate.set()
    assert {each.result().status_code for each in waiting} == {200}
    pool.shutdown()


def test_many_who_want_the_same_manifest_have_it_read_once(slow_api, slow_store, complete):
    """A result that has just completed is asked for by everybody who waited."""
    complete(ID)
    pool, waiting = at_once(slow_api, f"/v1/infer/results/{ID}/results", 30)
    until(lambda: slow_store.reads)
    # All of them have looked it up by the time that another one, sent after them, was told the same.
    assert slow_api.get(f"/v1/infer/results/{ID}/status").json()["status"] == "completed"
    slow_store.gate.set()
    assert {each.result().status_code for each in waiting} == {200}
    assert slow_api.get(f"/v1/infer/results/{ID}/results").status_code == 200
    assert slow_store.reads <= 2
    pool.shutdown()


@pytest.mark.parametrize(("error", "status"), [(NetworkError("no answer"), 503), (AccessDeniedError("refused"), 502)])
def test_an_outage_of_the_store_is_no_failure_of_the_execution(slow_api, slow_store, complete, error, status):
    """The answer is an error, and says when to come again if that helps; the execution stays completed, and is read."""
    complete(ID)
    slow_store.gate.set()
    slow_store.error = error
    for path in ("results", "results/a.zarr/c/0", "archive"):
        answer = slow_api.get(f"/v1/infer/results/{ID}/{path}")
        assert (answer.status_code, answer.json()["error"]) == (status, str(error))
        assert ("retry-after" in answer.headers) == (status == 503)
    assert slow_api.get(f"/v1/infer/results/{ID}/status").json()["status"] == "completed"
    slow_store.error = None
    assert slow_api.get(f"/v1/infer/results/{ID}/results").status_code == 200


def test_an_answer_is_never_older_than_its_question(api, records):
    """Nothing is cached: what is changed before the question is in its answer."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    for step in range(200):
        records.set_progress(ID, 1, {"current_step": step})
        assert api.get(f"/v1/infer/results/{ID}/status").json()["progress"]["current_step"] == step


def test_an_outage_is_told_to_everybody_and_passes(api, records):
    """Those who asked together are all told, and asked again it answers."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    records.error = ServiceUnavailableError("the database is away")
    pool, waiting = at_once(api, f"/v1/infer/results/{ID}/status", 20)
    answers = [each.result() for each in waiting]
    assert {(each.status_code, each.json()["error"]) for each in answers} == {(503, "the database is away")}
    records.error = None
    assert api.get(f"/v1/infer/results/{ID}/status").status_code == 200
    pool.shutdown()


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_a_long_answer_is_compressed_and_the_same(slow_api, slow_store, complete, coding):
    """The list of files in each coding, and a HEAD that says what the GET does."""
    slow_store.gate.set()
    complete(ID, FILES)
    path, headers = f"/v1/infer/results/{ID}/results", {"Accept-Encoding": coding}
    answer = slow_api.get(path, headers=headers)
    assert answer.headers.get("content-encoding", "identity") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(answer.json()["output_files"]) == FILES
    head = slow_api.head(path, headers=headers)
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert head.headers.get("content-encoding", "identity") == coding
    sent = int(answer.headers["content-length"])
    assert sent > 500_000 if coding == "identity" else sent < 100_000


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("path", ["results/a.txt", ".wildcast/manifest.json.gz"])
def test_files_are_sent_as_they_lie(api, path):
    """Whatever the client takes: their length, checksum and ranges are those of the file."""
    answer = api.get(f"/v1/infer/results/{ID}/results/{path}", headers={"Accept-Encoding": "zstd, gzip"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


def test_a_large_json_file_is_sent_as_it_lies(api, records, tmp_path):
    """A result's own JSON is a file too, whole or a range of it."""
    from wildcast_server.publish import publish_in_place

    directory = tmp_path / ID
    directory.mkdir()
    (directory / "zarr.json").write_bytes(b'{"a": 1}' + b" " * 50_000)
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    record = as_record(publish_in_place(directory, ID), 1)
    records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)
    path = f"/v1/infer/results/{ID}/results/zarr.json"
    for headers in ({}, {"Range": "bytes=0-20000"}):
        answer = api.get(path, headers={"Accept-Encoding": "zstd, gzip", **headers})
        assert answer.is_success
        assert "content-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.content)
    archive = api.get(f"/v1/infer/results/{ID}/archive", headers={"Accept-Encoding": "zstd, gzip"})
    assert archive.status_code == 200
    assert "content-encoding" not in archive.headers


def test_files_none_leaves_the_list_out(slow_api, slow_store, complete):
    """And asks the store for nothing; any other word is refused in words."""
    complete(ID)
    metadata = slow_api.get(f"/v1/infer/results/{ID}/results?files=none").json()
    assert metadata["output_files"] == []
    assert metadata["publication"]["files"] == 3
    assert slow_store.reads == 0
    refused = slow_api.get(f"/v1/infer/results/{ID}/results?files=some")
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("the request cannot be understood: files: ")
    slow_store.gate.set()
    assert slow_api.get(f"/v1/infer/results/{ID}/results?files=all").json()["output_files"]
