"""Every row of the wire contract's first table, against a real service with every part of it."""

import http.client
import re
import time
from datetime import datetime

import httpx
import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast.contract.wire import ResultMetadata, StatusAnswer
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.records import SqlRecords, open_engine
from wildcast_server.settings import load_settings
from wildcast_server.wiring.stack import Stack

WORKFLOWS = '''
import time
from pathlib import Path
from wildcast_server import RunContext, workflow


@workflow
def writes(context: RunContext, text: str = "0123456789", name: str = "a.txt") -> None:
    """Write a text into a file."""
    context.progress(1, 2, phase="writing")
    path = context.output_directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@workflow
def raises(context: RunContext) -> None:
    """Fail."""
    raise ArithmeticError("no convergence")


@workflow
def waits(context: RunContext, until: str) -> None:
    """Wait until a file is there."""
    while not Path(until).exists():
        context.check_cancelled()
        time.sleep(0.01)
    (context.output_directory / "done.txt").write_text("done")
'''

UNKNOWN = "exec_1_00000000"
ERROR = {"error", "details", "detail"}
BELOW = "/v1/infer/writes"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where everything of this module lies."""
    root = tmp_path_factory.mktemp("contract")
    (root / "workflows").mkdir()
    (root / "workflows" / "some.py").write_text(WORKFLOWS)
    return root


class Service:
    """A stack, a client of its API, and its records."""

    def __init__(self, root, data, **values) -> None:
        small = {
            "data_dir": data,
            "api.port": 0,
            "edge.port": 0,
            "workflows.directories": [root / "workflows"],
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": False,
        }
        settings = load_settings({**small, **values}, environ={}, cwd=root).settings
        self.stack = Stack(settings)
        self.stack.__enter__()
        self.http = httpx.Client(base_url=self.stack.api_url, timeout=60)
        self.records = SqlRecords(open_engine(settings.database_url.get_secret_value()))

    def close(self):
        self.records.close()
        self.http.close()
        self.stack.__exit__(None, None, None)

    def submit(self, workflow="writes", **parameters):
        answer = self.http.post(f"/v1/infer/{workflow}", json={"parameters": parameters})
        assert answer.status_code == 200, answer.text
        return answer.json()["execution_id"]

    def ended(self, name, workflow="writes"):
        deadline = time.monotonic() + 90
        while not Status((answer := self.http.get(f"/v1/infer/{workflow}/{name}/status").json())["status"]).is_final:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return answer

    def recorded(self, status, **changes):
        """Record an execution that stands somewhere, and that nothing works on."""
        now = time.time_ns()
        execution = Execution(id=f"exec_1_{now % 2**32:08x}", workflow_name="writes", parameters={})
        self.records.insert(execution)
        self.records.change(execution.id, expected=Status.QUEUED, to=status, **changes)
        return execution.id


@pytest.fixture(scope="module")
def local(directory):
    """A service that sends results itself."""
    service = Service(directory, directory / "local")
    yield service
    service.close()


@pytest.fixture(scope="module")
def stored(directory):
    """A service whose results are read by signed URL."""
    service = Service(directory, directory / "stored", **{"object_storage.enabled": True})
    yield service
    service.close()


@pytest.fixture(params=["local", "stored"])
def service(request):
    """One after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def start(directory, tmp_path):
    """Start a service with settings of the test's own."""
    opened = []

    def begin(**values):
        opened.append(Service(directory, tmp_path / f"data{len(opened)}", **values))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def assert_error(answer, status, *words: str):
    """The status, the three members at the top level, and a sentence that says something."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == ERROR
    assert body["error"] == body["detail"]
    for word in words:
        assert word in body["error"]


def moment(text):
    """A time of the API; it must know its zone."""
    time = datetime.fromisoformat(text)
    assert time.tzinfo is not None
    return time


@pytest.mark.parametrize("path", ["/health", "/readiness"])
def test_health_and_readiness(service, path):
    """200 with a status and a time; the real records, engine and store say so."""
    answer = service.http.get(path)
    assert answer.status_code == 200
    assert answer.json().keys() == {"status", "timestamp"}
    assert answer.json()["status"] == "healthy"
    moment(answer.json()["timestamp"])


def test_liveness_and_metrics(service):
    """One word, and Prometheus' text with the service's own numbers."""
    assert service.http.get("/liveness").json() == {"status": "alive"}
    metrics = service.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("wildcast_http_requests_total", 'wildcast_executions_unfinished{status="queued"}', "process_cpu"):
        assert name in metrics.text


def test_not_ready_without_its_bucket(start, s3_endpoint):
    """Healthy, because the records answer; not ready, because nothing could be published; and why."""
    values = {
        "object_storage.enabled": True,
        "object_storage.bucket": "no-such-bucket",
        "object_storage.endpoint_url": s3_endpoint,
    }
    service = start(**values)
    answer = service.http.get("/readiness")
    assert answer.status_code == 503
    assert "no-such-bucket" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) > 0
    assert service.http.get("/health").status_code == 200


def test_ready_with_its_bucket(start, s3_endpoint, bucket):
    """The look at the store leaves nothing in it."""
    import boto3

    values = {
        "object_storage.enabled": True,
        "object_storage.bucket": bucket,
        "object_storage.endpoint_url": s3_endpoint,
    }
    assert start(**values).http.get("/readiness").status_code == 200
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    client.close()


def test_workflows_and_schema(service):
    """Names with descriptions, and the JSON schema of the parameters."""
    listed = service.http.get("/v1/infer/workflows").json()
    assert listed.keys() == {"workflows"}
    assert listed["workflows"]["writes"] == "Write a text into a file."
    schema = service.http.get("/v1/infer/workflows/writes/schema").json()
    assert schema["type"] == "object"
    assert schema["properties"]["text"]["default"] == "0123456789"
    assert_error(service.http.get("/v1/infer/workflows/nothing/schema"), 404, "nothing", "writes")


def test_a_submission(service):
    """Its answer has exactly the contract's members, and begins at `queued`, with nobody before it."""
    answer = service.http.post(BELOW, json={"parameters": {"text": "x"}})
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"workflow_name", "execution_id", "status", "position", "message", "timestamp"}
    assert (body["workflow_name"], body["status"]) == ("writes", "queued")
    assert re.fullmatch(r"exec_\d+_[0-9a-f]{8}", body["execution_id"])
    assert isinstance(body["position"], int)
    moment(body["timestamp"])
    service.ended(body["execution_id"])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/infer/nothing", {"parameters": {}}, 404, ["nothing", "writes"]),
        (BELOW, {"parameters": {"text": 1}}, 422, ["text"]),
        (BELOW, {"parameters": {"text": "x", "other": 1}}, 422, ["other"]),
        (BELOW, {"parameters": []}, 422, ["parameters"]),
        (BELOW, [], 422, ["parameters"]),
        (BELOW, None, 422, ["parameters"]),
    ],
)
def test_a_submission_that_is_refused(service, path, body, status, words):
    """With the reason, and the fields in the details; nothing is recorded."""
    answer = service.http.post(path, json=body)
    assert_error(answer, status, *words)
    if status == 422:
        assert answer.json()["details"][0].keys() >= {"field", "message", "type"}


def test_a_full_queue_and_positions(start, tmp_path):
    """429 with Retry-After; positions count from 0, and what runs has none."""
    service = start(**{"workflows.max_queued": 2})
    gate = str(tmp_path / "gate")
    first = service.submit("waits", until=gate)
    deadline = time.monotonic() + 60
    while service.http.get(f"/v1/infer/waits/{first}/status").json()["status"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answers = [service.http.post(BELOW, json={"parameters": {}}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.json()["position"] for answer in answers[:2]] == [0, 1]
    assert_error(answers[2], 429)
    assert int(answers[2].headers["retry-after"]) > 0
    ids = [answer.json()["execution_id"] for answer in answers[:2]]
    shown = [service.http.get(f"{BELOW}/{name}/status").json()["position"] for name in ids]
    assert shown == [0, 1]
    assert service.http.get(f"/v1/infer/waits/{first}/status").json()["position"] is None
    (tmp_path / "gate").touch()
    for name in ids:
        assert service.ended(name)["position"] is None


def test_a_full_disk(start):
    """503 with Retry-After and the reason."""
    answer = start(**{"results.min_free_disk_bytes": 2**60}).http.post(BELOW, json={"parameters": {}})
    assert_error(answer, 503, "disk")
    assert int(answer.headers["retry-after"]) > 0


def test_the_only_workflow_needs_no_name(start):
    """And is the one that is submitted."""
    service = start(**{"workflows.exposed": ["writes"]})
    answer = service.http.post("/v1/infer", json={"parameters": {}})
    assert (answer.status_code, answer.json()["workflow_name"]) == (200, "writes")
    service.ended(answer.json()["execution_id"])


def test_several_workflows_need_a_name(local):
    """409, and which there are."""
    assert_error(local.http.post("/v1/infer", json={"parameters": {}}), 409, "writes", "waits")


def test_no_workflow_at_all(start):
    """503 with Retry-After: the operator may expose one."""
    answer = start(**{"workflows.exposed": []}).http.post("/v1/infer", json={"parameters": {}})
    assert_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


def test_a_status(service):
    """Exactly the contract's members; progress whole, with the workflow's own fields; times with their zone."""
    status = service.ended(service.submit())
    assert status.keys() == set(StatusAnswer.__struct_fields__)
    assert (status["status"], status["position"], status["error_message"]) == ("completed", None, None)
    progress = status["progress"]
    assert progress.keys() == {"progress", "current_step", "total_steps", "phase"}
    assert (progress["current_step"], progress["total_steps"], progress["phase"]) == (1, 2, "writing")
    assert moment(status["start_time"]) <= moment(status["end_time"])
    assert status["execution_time_seconds"] > 0


def test_a_result(service):
    """Everything that the contract names is there and means what it says; a completed result says `completed`."""
    name = service.submit(text="0123456789")
    service.ended(name)
    answer = service.http.get(f"{BELOW}/{name}/results")
    assert answer.status_code == 200
    metadata = answer.json()
    assert metadata.keys() == set(ResultMetadata.__struct_fields__)
    assert (metadata["request_id"], metadata["status"], metadata["workflow_name"]) == (name, "completed", "writes")
    assert metadata["parameters"] == {"text": "0123456789", "name": "a.txt"}
    assert metadata["output_files"] == [{"path": f"{name}/a.txt", "size": 10}]
    assert metadata["execution_time_seconds"] > 0
    assert moment(metadata["created_at"]) <= moment(metadata["completion_time"])
    assert metadata["peak_memory_usage"] > 0
    assert metadata["device"]
    signed = service.stack.edge_url is not None
    assert metadata["storage_type"] == ("s3" if signed else "server")
    assert (metadata["remote_path"] == f"outputs/{name}") == signed
    assert (metadata["signed_url"] is not None) == signed


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.PENDING_RESULTS])
def test_a_result_that_is_to_come(local, status):
    """202 with message and status at the top level, and Retry-After: for the metadata, a file and the archive."""
    now = time.time_ns()
    name = f"exec_1_{now % 2**32:08x}"
    local.records.insert(Execution(id=name, workflow_name="writes", parameters={}))
    for step in (Status.RUNNING, Status.PENDING_RESULTS):
        if status is Status.QUEUED:
            break
        local.records.change(name, expected=local.records.get(name).status, to=step)
        if step is status:
            break
    for path in ("results", "results/a.txt", f"results/writes:{name}", "archive"):
        answer = local.http.get(f"{BELOW}/{name}/{path}")
        assert answer.status_code == 202
        assert answer.json().keys() == {"message", "status"}
        assert answer.json()["status"] == status
        assert int(answer.headers["retry-after"]) > 0
    local.records.change(name, expected=status, to=Status.FAILED, error_message="x")


@pytest.mark.parametrize("path", ["results", "results/a.txt", "archive"])
def test_a_result_that_never_will_be(local, path):
    """404 for what failed or was cancelled, 400 for what has expired, each with its sentence and its status."""
    failed = local.submit("raises")
    assert local.ended(failed, "raises")["status"] == "failed"
    answer = local.http.get(f"/v1/infer/raises/{failed}/{path}")
    assert_error(answer, 404, "no convergence")
    assert answer.json()["details"] == {"status": "failed"}
    cancelled = local.recorded(Status.CANCELLED, ended_at=utc_now())
    assert_error(local.http.get(f"{BELOW}/{cancelled}/{path}"), 404, "cancelled")
    done = local.submit()
    local.ended(done)
    local.records.change(done, expected=Status.COMPLETED, to=Status.EXPIRED)
    assert_error(local.http.get(f"{BELOW}/{done}/{path}"), 400, "expired")
    assert local.http.get(f"{BELOW}/{done}/status").json()["status"] == "expired"


def test_a_failure_is_in_the_status(local):
    """The reason, and the end."""
    status = local.ended(local.submit("raises"), "raises")
    assert "no convergence" in status["error_message"]
    assert status["end_time"] is not None


@pytest.mark.parametrize("path", ["status", "results", "results?files=none", "results/a.txt", "archive"])
@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", "a b", "%00", "exec_1_0000000G"])
def test_an_unknown_id_is_404_everywhere(local, path, name):
    """On every route alike, whatever it looks like; with the workflow's name right, wrong, or unknown."""
    other = local.submit()
    local.ended(other)
    for url in (f"{BELOW}/{name}/{path}", f"/v1/infer/raises/{other}/{path}", f"/v1/infer/nothing/{other}/{path}"):
        if "%00" in url and "results/" in url:
            continue  # an encoding that is refused in any file's URL
        assert_error(local.http.get(url), 404)


def test_a_file(local):
    """By its path with and without the execution's id: whole, in part, by HEAD, and not again."""
    name = local.submit(text="0123456789")
    local.ended(name)
    for path in ("a.txt", f"{name}/a.txt"):
        url = f"{BELOW}/{name}/results/{path}"
        whole = local.http.get(url)
        assert (whole.status_code, whole.text, whole.headers["accept-ranges"]) == (200, "0123456789", "bytes")
        assert whole.headers["last-modified"]
        part = local.http.get(url, headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
        head = local.http.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
        assert local.http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
        fits = {"Range": "bytes=2-4", "If-Range": whole.headers["etag"]}
        assert local.http.get(url, headers=fits).status_code == 206
        assert local.http.get(url, headers={**fits, "If-Range": '"other"'}).status_code == 200
    assert_error(local.http.get(f"{BELOW}/{name}/results/b.txt"), 404, "b.txt")


def test_a_file_in_object_storage(stored):
    """307 to its signed URL, which opens."""
    name = stored.submit(text="0123456789")
    stored.ended(name)
    answer = stored.http.get(f"{BELOW}/{name}/results/a.txt")
    assert answer.status_code == 307
    assert httpx.get(answer.headers["location"]).text == "0123456789"
    assert_error(stored.http.get(f"{BELOW}/{name}/results/b.txt"), 404, "b.txt")


def test_the_edge_compresses_nothing(stored):
    """What lies in the store is sent as it lies, whatever the client takes."""
    name = stored.submit(text="0123456789" * 10_000, name="a.json")
    stored.ended(name)
    url = stored.http.get(f"{BELOW}/{name}/results/a.json").headers["location"]
    answer = httpx.get(url, headers={"Accept-Encoding": "zstd, gzip"})
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == 100_000


def test_the_archive_under_its_old_name(service):
    """`<workflow>:<execution>` is a zip."""
    name = service.submit()
    service.ended(name)
    answer = service.http.get(f"{BELOW}/{name}/results/writes:{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.content.startswith(b"PK")


@pytest.mark.parametrize("path", ["results/a.txt", "archive", "results"])
def test_json_may_be_asked_of_anything(local, path):
    """Existing clients send this with every request; it is never 406."""
    name = local.submit()
    local.ended(name)
    answer = local.http.get(f"{BELOW}/{name}/{path}", headers={"Accept": "application/json"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/v1/infer/workflows/writes/schema", "GET, HEAD"),
        ("PUT", f"{BELOW}/{UNKNOWN}/status", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/results", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/results/a.txt", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/archive", "GET, HEAD"),
        ("DELETE", "/v1/infer", "POST"),
        ("OPTIONS", BELOW, "POST"),
    ],
)
def test_a_method_that_a_route_lacks(local, method, path, allowed):
    """405 with all that it has, and an error's body."""
    answer = local.http.request(method, path)
    assert_error(answer, 405, allowed)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v1/infer/a/b", "/v1/infer/a/b/c", "//health", "/docs/x"])
def test_a_path_that_there_is_not(local, path):
    """404 with an error's body that says where to look."""
    assert_error(local.http.get(path), 404, "/docs")


@pytest.mark.parametrize(
    "path",
    ["/health", "/readiness", "/liveness", "/metrics", "/v1/infer/workflows", "/v1/infer/workflows/writes/schema"],
)
def test_a_slash_at_the_end_changes_nothing(local, path):
    """No redirect, which would lose a scheme behind a proxy, or a client that follows none."""
    assert local.http.get(f"{path}/").status_code == 200
    assert local.http.get(f"{path}//").status_code == 404


def test_a_slash_at_the_end_of_an_executions_paths(local):
    """A submission, a status, a result; but of a file it is part of a name that there is not."""
    name = local.http.post(f"{BELOW}/", json={"parameters": {}}).json()["execution_id"]
    local.ended(name)
    assert local.http.get(f"{BELOW}/{name}/status/").json()["status"] == "completed"
    assert local.http.get(f"{BELOW}/{name}/results/").json()["request_id"] == name
    assert local.http.get(f"{BELOW}/{name}/results/a.txt/").status_code in (400, 404)
    for path in ("status%2F", "results%2f"):  # the encoded one is no separator
        assert local.http.get(f"{BELOW}/{name}/{path}").status_code in (400, 404)


def test_the_page_with_a_slash_is_the_page(local):
    """Its parts are named relative to it, so the slash is taken away where the browser sees it."""
    redirect = local.http.get("/docs/")
    assert (redirect.status_code, redirect.headers["location"]) == (308, "../docs")


def test_no_origin_is_let_in(local):
    """No page of another site may read answers, with or without credentials; nothing reflects its origin."""
    headers = {"Origin": "https://evil.example", "Cookie": "a=b"}
    preflight = {**headers, "Access-Control-Request-Method": "POST"}
    answers = [
        local.http.get("/v1/infer/workflows", headers=headers),
        local.http.get(f"{BELOW}/{UNKNOWN}/status", headers=headers),
        local.http.options(BELOW, headers=preflight),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "evil" not in str(answer.headers)


def test_a_body_that_is_too_long(start):
    """413 with an error's body."""
    service = start(**{"api.max_body_bytes": 1000})
    assert_error(service.http.post(BELOW, json={"parameters": {"text": "x" * 1000}}), 413, "1000")


def test_what_is_fresh_is_not_kept(service):
    """Status and results, whose URL is signed for one answer, are for no cache."""
    name = service.submit()
    service.ended(name)
    for path in ("status", "results"):
        assert service.http.get(f"{BELOW}/{name}/{path}").headers["cache-control"] == "no-store"


def test_connections_stay_open(local):
    """A client that asks every ten seconds needs no new one each time."""
    connection = http.client.HTTPConnection(local.http.base_url.host, local.http.base_url.port)
    connection.connect()
    first = connection.sock
    # Longer than the five seconds after which the server's library would have closed it.
    for pause in (0, 6):
        time.sleep(pause)
        connection.request("GET", "/liveness")
        assert connection.getresponse().read() == b'{"status":"alive"}'
    assert connection.sock is first
    connection.close()
