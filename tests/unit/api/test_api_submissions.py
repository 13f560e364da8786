"""Submitting over HTTP: keys, labels, retention, webhooks, and many at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx

from wildcast_server.records import Limits
from wildcast_server.settings import WorkflowLimits

URL = "/v1/infer/results"
HOOK = "https://example.org/hook?token=canary"


def submit(api, key=None, **body):
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    # With escapes: half a surrogate pair can be sent no other way.
    return api.post(URL, content=json.dumps(body).encode(), headers=headers)


def test_what_a_body_says_is_recorded(api, records):
    """And shown in the status, but the webhook, which may hold a token."""
    extras = {"labels": {"project": "storms"}, "retention_seconds": 60, "webhook": HOOK}
    name = submit(api, parameters={"n": 2}, **extras).json()["execution_id"]
    execution = records.get(name)
    assert {each: getattr(execution, each) for each in extras} == extras
    status = api.get(f"{URL}/{name}/status")
    assert status.json()["metadata"]["labels"] == extras["labels"]
    assert status.json()["metadata"]["retention_seconds"] == 60
    assert "canary" not in status.text


REFUSED = [
    {"labels": {"a=b": "c"}},
    {"labels": {"": "c"}},
    {"labels": {"a" * 64: "c"}},
    {"labels": {"a": "c" * 256}},
    {"labels": {"a": "c\x00"}},
    {"labels": {"a": 1}},
    {"labels": {"a": "\ud800"}},
    {"labels": {"a\n": "b"}},
    {"labels": {"\ud800": "b"}},
    {"\ud800": "b"},
    {"webhook": "https://example.org/\ud800"},
    {"labels": {f"a{number}": "" for number in range(33)}},
    {"labels": ["a"]},
    {"retention_seconds": 0},
    {"retention_seconds": -1},
    {"retention_seconds": 1.5},
    {"retention_seconds": True},
    {"retention_seconds": 10**18},
    {"webhook": ""},
    {"webhook": "ftp://example.org/"},
    {"webhook": "https://user:secret@example.org/"},
    {"webhook": "http://127.0.0.1/"},
    {"webhook": "http://[::ffff:169.254.169.254]/"},
    {"webhook": "http://0x7f000001/"},
]


def test_what_cannot_be_taken_is_refused(api, records):
    """With 422, and a sentence that repeats no secret of it; nothing is recorded."""
    for extras in REFUSED:
        answer = submit(api, **extras)
        assert answer.status_code == 422, extras
        assert "secret" not in answer.json()["error"]
    assert records.unfinished() == []


def test_a_label_may_be_any_text(api, records):
    """Also one that is not ASCII, or empty."""
    labels = {"a/b.c-d_e": "Zürich = 東京 ", "x": ""}
    assert records.get(submit(api, labels=labels).json()["execution_id"]).labels == labels


def test_the_same_request_with_the_same_key_is_the_same_execution(api):
    """Answered 200 with the execution as it is now."""
    first = submit(api, "k", parameters={"n": 2}).json()
    api.post(f"{URL}/{first['execution_id']}/cancel")
    again = submit(api, "k", parameters={"n": 2})
    assert again.status_code == 200
    assert again.json()["execution_id"] == first["execution_id"]
    assert (again.json()["status"], again.json()["position"]) == ("cancelled", None)
    assert "before" in again.json()["message"]


def test_another_request_with_the_same_key_is_refused(api):
    """The sentence says what to do about it."""
    submit(api, "k", parameters={"n": 2})
    answer = submit(api, "k", parameters={"n": 3})
    assert answer.status_code == 409
    assert answer.json().keys() == {"error", "details", "detail"}
    assert submit(api, "l", parameters={"n": 3}).status_code == 200


def test_the_key_of_a_deleted_execution_is_free(api):
    """Nothing is there any more that it could name."""
    first = submit(api, "k").json()["execution_id"]
    api.post(f"{URL}/{first}/cancel")
    assert api.delete(f"{URL}/{first}").status_code == 204
    assert submit(api, "k").json()["execution_id"] != first


def test_a_key_that_is_none_is_refused(api):
    """Between one and 255 printable characters of ASCII."""
    for key in ("", "a b", "k" * 256, "caf\xe9"):
        answer = api.post(URL, json={}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
        assert answer.status_code == 422, key
        assert "Idempotency-Key" in answer.json()["error"]


def test_a_key_names_an_execution_of_the_only_workflow_as_well(api):
    """Both routes submit the same."""
    first = api.post("/v1/infer", json={}, headers={"Idempotency-Key": "k"}).json()
    assert submit(api, "k").json()["execution_id"] == first["execution_id"]


def test_many_at_once_with_one_key_are_one_execution(api, jobs):
    """Sixteen connections, one execution, one job."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: submit(api, "k"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert len(jobs.waiting) == 1


def test_submissions_that_come_together_are_recorded_together(api, records):
    """Fewer transactions than requests, and each has its own answer."""
    batches = []
    original = records.insert_all

    def noting(submissions, **options):
        batches.append(len(submissions))
        return original(submissions, **options)

    records.insert_all = noting
    with ThreadPoolExecutor(40) as pool:
        names = list(pool.map(lambda n: submit(api, parameters={"n": n}).json()["execution_id"], range(200)))
    assert len(set(names)) == sum(batches) == 200
    assert len(batches) < 200
    assert [records.get(name).parameters["n"] for name in names] == list(range(200))


def test_never_more_wait_than_may(use_cases, serve, jobs):
    """However many come at once: exactly so many are taken, and the others are told when to come again."""
    bounded = replace(use_cases, submit=replace(use_cases.submit, limits=Limits(max_queued=5)))
    api = serve(bounded)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: submit(api), range(40)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 35
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert len(jobs.waiting) == 5


def test_a_workflows_own_bound_is_429_too(use_cases, serve):
    """The sentence names the workflow."""
    limits = Limits(per_workflow={"results": WorkflowLimits(max_unfinished=1)})
    api = serve(replace(use_cases, submit=replace(use_cases.submit, limits=limits)))
    assert submit(api).status_code == 200
    answer = submit(api)
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    assert "results" in answer.json()["error"]


def test_a_slow_check_of_one_request_holds_up_no_other(use_cases, serve, slow_workflow):
    """A workflow's own validation may take its time."""
    entered, gate = slow_workflow
    api = serve(use_cases)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.post, f"{api.base_url}/v1/infer/slow", json={}, timeout=30)
        assert entered.wait(30)
        assert submit(api).status_code == 200
        assert not slow.done()
        gate.set()
        assert slow.result(30).status_code == 200
