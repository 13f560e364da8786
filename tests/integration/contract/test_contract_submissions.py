"""Workflows, submissions and statuses, against a real service with every part of it."""

import re
import time

import pytest

from wildcast.contract.wire import StatusAnswer

BELOW = "/v1/infer/writes"


def test_workflows_and_schema(service, is_error):
    """Names with descriptions, and the JSON schema of the parameters."""
    listed = service.http.get("/v1/infer/workflows").json()
    assert listed.keys() == {"workflows"}
    assert listed["workflows"]["writes"] == "Write a text into a file."
    schema = service.http.get("/v1/infer/workflows/writes/schema").json()
    assert schema["type"] == "object"
    assert schema["properties"]["text"]["default"] == "0123456789"
    is_error(service.http.get("/v1/infer/workflows/nothing/schema"), 404, "nothing", "writes")


def test_a_submission(service, moment):
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
def test_a_submission_that_is_refused(service, path, body, status, words, is_error):
    """With the reason, and the fields in the details; nothing is recorded."""
    answer = service.http.post(path, json=body)
    is_error(answer, status, *words)
    if status == 422:
        assert answer.json()["details"][0].keys() >= {"field", "message", "type"}


def test_a_full_queue_and_positions(start, tmp_path, is_error):
    """429 with Retry-After; positions count from 0, and what runs has none."""
    service = start(with_workers=True, **{"workflows.max_queued": 2})
    gate = str(tmp_path / "gate")
    first = service.submit("waits", until=gate)
    deadline = time.monotonic() + 60
    while service.http.get(f"/v1/infer/waits/{first}/status").json()["status"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answers = [service.http.post(BELOW, json={"parameters": {}}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.json()["position"] for answer in answers[:2]] == [0, 1]
    is_error(answers[2], 429)
    assert int(answers[2].headers["retry-after"]) > 0
    ids = [answer.json()["execution_id"] for answer in answers[:2]]
    shown = [service.http.get(f"{BELOW}/{name}/status").json()["position"] for name in ids]
    assert shown == [0, 1]
    assert service.http.get(f"/v1/infer/waits/{first}/status").json()["position"] is None
    (tmp_path / "gate").touch()
    for name in ids:
        assert service.ended(name)["position"] is None


def test_a_full_disk(start, is_error):
    """503 with Retry-After and the reason."""
    answer = start(**{"results.min_free_disk_bytes": 2**60}).http.post(BELOW, json={"parameters": {}})
    is_error(answer, 503, "disk")
    assert int(answer.headers["retry-after"]) > 0


def test_the_only_workflow_needs_no_name(start):
    """And is the one that is submitted."""
    service = start(**{"workflows.exposed": ["writes"]})
    answer = service.http.post("/v1/infer", json={"parameters": {}})
    assert (answer.status_code, answer.json()["workflow_name"]) == (200, "writes")


def test_several_workflows_need_a_name(local, is_error):
    """409, and which there are."""
    is_error(local.http.post("/v1/infer", json={"parameters": {}}), 409, "writes", "waits")


def test_no_workflow_at_all(start, is_error):
    """503 with Retry-After: the operator may expose one."""
    answer = start(**{"workflows.exposed": []}).http.post("/v1/infer", json={"parameters": {}})
    is_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


def test_a_status(service, moment):
    """Exactly the contract's members; progress whole, with the workflow's own fields; times with their zone."""
    status = service.ended(service.submit())
    assert status.keys() == set(StatusAnswer.__struct_fields__)
    assert (status["status"], status["position"], status["error_message"]) == ("completed", None, None)
    progress = status["progress"]
    assert progress.keys() - {"publication"} == {"progress", "current_step", "total_steps", "phase"}
    assert (progress["current_step"], progress["total_steps"], progress["phase"]) == (1, 2, "writing")
    assert moment(status["start_time"]) <= moment(status["end_time"])
    assert status["execution_time_seconds"] > 0


def test_a_failure_is_in_the_status(local):
    """The reason, and the end."""
    status = local.ended(local.submit("raises"), "raises")
    assert "no convergence" in status["error_message"]
    assert status["end_time"] is not None


def test_a_body_that_is_too_long(start, is_error):
    """413 with an error's body."""
    service = start(**{"api.max_body_bytes": 1000})
    is_error(service.http.post(BELOW, json={"parameters": {"text": "x" * 1000}}), 413, "1000")
