"""Prometheus' numbers: which there are, and that clients cannot make them grow."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import ServiceUnavailableError

ID = "exec_1_00000001"


def numbers(api):
    """Every sample: name and labels, and value."""
    text = api.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples, name, **labels):
    return samples.get((name, *sorted(labels.items())))


def test_it_is_prometheus_text(api):
    """With the content type by which a scraper knows it."""
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert of(numbers(api), "process_open_fds") > 0


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", f"/v1/infer/results/{ID}/status", "/v1/infer/{workflow_name}/{execution_id}/status", 404),
        ("GET", f"/v1/infer/results/{ID}/results", "/v1/infer/{workflow_name}/{execution_id}/results", 404),
        (
            "GET",
            f"/v1/infer/results/{ID}/results/a",
            "/v1/infer/{workflow_name}/{execution_id}/results/{path:path}",
            404,
        ),
        ("GET", f"/v1/infer/results/{ID}/archive", "/v1/infer/{workflow_name}/{execution_id}/archive", 404),
        ("HEAD", "/liveness", "/liveness", 200),
        ("POST", "/v1/infer/results", "/v1/infer/{workflow_name}", 422),
        ("GET", "/secret-canary", "unknown", 404),
        ("GET", "/v1/infer/secret/canary/x/y", "unknown", 404),
        ("PROPFIND", "/liveness", "/liveness", 405),
    ],
)
def test_answers_are_counted_by_route_method_and_status(api, method, path, route, status):
    """By the route's template: what a client writes into the path, or as a method, is no label."""
    assert api.request(method, path).status_code == status
    samples = numbers(api)
    labels = {"route": route, "method": "OTHER" if method == "PROPFIND" else method, "status": str(status)}
    assert of(samples, "wildcast_http_requests_total", **labels) == 1
    assert of(samples, "wildcast_http_request_duration_seconds_count", **labels) == 1
    assert "canary" not in api.get("/metrics").text.lower()


def test_executions_are_counted_by_workflow(api, records):
    """What was accepted, what waits, and how it ended."""
    names = [api.post("/v1/infer/results", json={"parameters": {}}).json()["execution_id"] for _ in range(3)]
    samples = numbers(api)
    assert of(samples, "wildcast_executions_submitted_total", workflow="results") == 3
    assert of(samples, "wildcast_executions_unfinished", status="queued") == 3
    assert of(samples, "wildcast_executions_unfinished", status="running") == 0
    assert of(samples, "wildcast_workers", queue="compute") == 0
    assert records.get(names[0]).status is Status.QUEUED


def test_what_is_refused_was_not_submitted(api):
    """Neither wrong parameters nor a workflow that there is not become numbers, or labels."""
    api.post("/v1/infer/results", json={"parameters": {"n": "x"}})
    api.post("/v1/infer/canary", json={"parameters": {}})
    assert not [key for key in numbers(api) if key[0] == "wildcast_executions_submitted_total"]
    assert "canary" not in api.get("/metrics").text


def test_ends_and_publications_are_counted(api, use_cases, published):
    """A completed execution counts once, with the files and bytes that it published."""
    del published  # it went past the observer
    records = use_cases.lookup.records
    failed = api.post("/v1/infer/results", json={"parameters": {}}).json()["execution_id"]
    records.change(failed, expected=Status.QUEUED, to=Status.FAILED, error_message="x")
    done = api.post("/v1/infer/results", json={"parameters": {}}).json()["execution_id"]
    records.change(done, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(done, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    records.change(done, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=records.get(ID).published)
    samples = numbers(api)
    assert of(samples, "wildcast_executions_failed_total", workflow="results") == 1
    assert of(samples, "wildcast_executions_completed_total", workflow="results") == 1
    assert of(samples, "wildcast_published_files_total", storage_type="server") == 2
    assert of(samples, "wildcast_published_bytes_total", storage_type="server") == 15


def test_a_queue_that_cannot_be_counted_is_not_empty(api, records):
    """The gauge is absent, another one says so, and the rest is there."""
    records.error = ServiceUnavailableError("the database is away")
    samples = numbers(api)
    assert not [key for key in samples if key[0] == "wildcast_executions_unfinished"]
    assert of(samples, "wildcast_queue_readable") == 0
    assert of(samples, "process_open_fds") > 0


def test_two_services_count_apart(api, use_cases, serve):
    """Nothing is global: another app in the same process has its own numbers."""
    import dataclasses

    from wildcast_server.metrics import Metrics

    other = serve(dataclasses.replace(use_cases, metrics=Metrics()))
    other.get("/liveness")
    assert re.search(r'requests_total\{[^}]*route="/liveness"', other.get("/metrics").text)
    assert not re.search(r'requests_total\{[^}]*route="/liveness"', api.get("/metrics").text)
