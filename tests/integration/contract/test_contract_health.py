"""The routes for machines, against a real service with every part of it."""

import pytest


@pytest.mark.parametrize("path", ["/health", "/readiness"])
def test_health_and_readiness(service, path, moment):
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
