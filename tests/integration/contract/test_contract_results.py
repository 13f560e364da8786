"""Results and their files, against a real service with every part of it."""

import time

import httpx
import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast.contract.wire import ResultMetadata
from wildcast_server.domain.execution import Execution, utc_now

UNKNOWN = "exec_1_00000000"
BELOW = "/v1/infer/writes"


def test_a_result(service, moment):
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
def test_a_result_that_never_will_be(local, path, is_error):
    """404 for what failed or was cancelled, 400 for what has expired, each with its sentence and its status."""
    failed = local.submit("raises")
    assert local.ended(failed, "raises")["status"] == "failed"
    answer = local.http.get(f"/v1/infer/raises/{failed}/{path}")
    is_error(answer, 404, "no convergence")
    assert answer.json()["details"] == {"status": "failed"}
    cancelled = local.recorded(Status.CANCELLED, ended_at=utc_now())
    is_error(local.http.get(f"{BELOW}/{cancelled}/{path}"), 404, "cancelled")
    done = local.submit()
    local.ended(done)
    local.records.change(done, expected=Status.COMPLETED, to=Status.EXPIRED)
    is_error(local.http.get(f"{BELOW}/{done}/{path}"), 400, "expired")
    assert local.http.get(f"{BELOW}/{done}/status").json()["status"] == "expired"


@pytest.mark.parametrize("path", ["status", "results", "results?files=none", "results/a.txt", "archive"])
@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", "a b", "%00", "exec_1_0000000G"])
def test_an_unknown_id_is_404_everywhere(local, completed, path, name, is_error):
    """On every route alike, whatever it looks like; with the workflow's name right, wrong, or unknown."""
    for url in (
        f"{BELOW}/{name}/{path}",
        f"/v1/infer/raises/{completed}/{path}",
        f"/v1/infer/nothing/{completed}/{path}",
    ):
        if "%00" in url and "results/" in url:
            continue  # an encoding that is refused in any file's URL
        is_error(local.http.get(url), 404)


def test_a_file(local, is_error):
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
    is_error(local.http.get(f"{BELOW}/{name}/results/b.txt"), 404, "b.txt")


def test_a_file_in_object_storage(stored, is_error):
    """307 to its signed URL, which opens."""
    name = stored.submit(text="0123456789")
    stored.ended(name)
    answer = stored.http.get(f"{BELOW}/{name}/results/a.txt")
    assert answer.status_code == 307
    assert httpx.get(answer.headers["location"]).text == "0123456789"
    is_error(stored.http.get(f"{BELOW}/{name}/results/b.txt"), 404, "b.txt")


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
def test_json_may_be_asked_of_anything(local, completed, path):
    """Existing clients send this with every request; it is never 406."""
    answer = local.http.get(f"{BELOW}/{completed}/{path}", headers={"Accept": "application/json"})
    assert answer.status_code == 200


def test_what_is_fresh_is_not_kept(service):
    """Status and results, whose URL is signed for one answer, are for no cache."""
    name = service.submit()
    service.ended(name)
    for path in ("status", "results"):
        assert service.http.get(f"{BELOW}/{name}/{path}").headers["cache-control"] == "no-store"
