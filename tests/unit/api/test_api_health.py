"""Health, readiness, liveness: what each asks, and what it says."""

import threading
import time

import pytest

from wildcast_server.errors import AccessDeniedError, ServiceUnavailableError


def test_all_is_well(api):
    """The same body on both; alive is a word."""
    for path in ("/health", "/readiness"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert answer.json().keys() == {"status", "timestamp"}
    assert api.get("/liveness").json() == {"status": "alive"}


@pytest.mark.parametrize("path", ["/health", "/readiness"])
def test_without_records_nothing_works(api, records, path):
    """503 with the reason in an error's form, and when to ask again; alive it is anyway."""
    records.error = ServiceUnavailableError("the database is away")
    answer = api.get(path)
    assert answer.status_code == 503
    body = answer.json()
    assert (body["status"], body["error"], body["detail"]) == ("unhealthy", "the database is away", body["error"])
    assert int(answer.headers["retry-after"]) > 0
    assert api.get("/liveness").status_code == 200


@pytest.mark.parametrize("path", ["/health", "/readiness"])
def test_without_an_engine_nothing_works(api, jobs, path):
    """What would be submitted would never run."""
    jobs.close()
    answer = api.get(path)
    assert (answer.status_code, answer.json()["error"]) == (503, "the job engine is closed and takes no more work")


def test_without_the_store_it_is_healthy_and_not_ready(api, store_check):
    """Executions can be looked up, and no new request should come here."""
    store_check.error = AccessDeniedError("the store refused these credentials")
    answer = api.get("/readiness")
    assert (answer.status_code, answer.json()["error"]) == (503, "the store refused these credentials")
    assert api.get("/health").status_code == 200


def test_every_reason_is_said(api, records, store_check):
    """Two things that are wrong are two sentences."""
    records.error = ServiceUnavailableError("the database is away")
    store_check.error = AccessDeniedError("the store refused")
    assert api.get("/readiness").json()["error"] == "the database is away; the store refused"


def test_a_verdict_is_kept_for_a_moment(api, store_check):
    """A balancer that asks a hundred times costs the store one question; later it is asked again."""
    began = time.monotonic()
    for _ in range(20):
        api.get("/readiness")
    assert store_check.asked == 1 or time.monotonic() - began >= 3
    store_check.error = AccessDeniedError("the store refused")
    deadline = time.monotonic() + 30
    while api.get("/readiness").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_store_that_hangs_is_a_reason_and_holds_nothing_up(api, store_check):
    """After some seconds the answer says so; meanwhile everything else answers, and only one question is under way."""
    store_check.gate.clear()
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(api.get("/readiness"))) for _ in range(10)]
    for thread in asking:
        thread.start()
    began = time.monotonic()
    while any(thread.is_alive() for thread in asking):
        assert api.get("/liveness").status_code == 200
        assert api.get("/health").status_code == 200
        assert time.monotonic() - began < 20
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"] for answer in answers} == {"the store has not answered within 3 seconds"}
    assert store_check.asked == 1


def test_a_check_that_fails_in_an_unexpected_way_is_a_reason(api, store_check):
    """Its text stays in the log."""
    store_check.error = RuntimeError("canary")
    answer = api.get("/readiness")
    assert answer.status_code == 503
    assert "unexpected RuntimeError" in answer.json()["error"]
    assert "canary" not in answer.text
