"""Partial results over HTTP."""

import dataclasses

import pytest

from wildcast.contract.manifest import FileRow, Manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.publish.partial import write_partial
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.usecases.partials import Partials

ID = "exec_1_00000001"
RESULTS = f"/v1/infer/results/{ID}/results"


@pytest.fixture
def store():
    """A store in memory."""
    return open_store("memory://")


@pytest.fixture
def showing(use_cases, serve, records, store):
    """The API over object storage."""
    signer = CloudFrontSigner("https://cdn.example", "KTEST", keys.generate_private_key(), expires_in=60)
    return serve(dataclasses.replace(use_cases, partials=Partials(records, store, signer, "outputs")))


@pytest.fixture
def running(records):
    """A running execution."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)


@pytest.mark.usefixtures("running")
def test_asked_then_there(showing, records, store):
    """202 until the worker shows something, and 200 with a fresh URL from then on."""
    first = showing.get(RESULTS, params={"partial": "true"})
    assert (first.status_code, first.json()["status"]) == (202, "running")
    assert "retry-after" in first.headers
    assert records.get(ID).partial_asked
    rows = [FileRow("a", 5, "AAAAAAAAAAA=", '"e"', "")]
    about = {"execution": ID, "attempt": 1, "created_at": utc_now(), "verified": "crc64nvme", "datasets": ()}
    write_partial(store, f"outputs/{ID}", Manifest.of(rows, **about))

    then = showing.get(RESULTS, params={"partial": "true"})
    short = showing.get(RESULTS, params={"partial": "true", "files": "none"})

    assert (then.status_code, then.json()["partial"]) == (200, True)
    assert then.headers["cache-control"] == "no-store"
    assert then.json()["output_files"] == [{"path": f"{ID}/a", "size": 5}]
    assert short.json()["output_files"] == []


@pytest.mark.usefixtures("running")
def test_who_does_not_ask_is_told_to_wait(showing, records):
    """And nothing is shown for them."""
    assert showing.get(RESULTS).status_code == 202
    assert not records.get(ID).partial_asked


def test_of_what_is_complete_it_is_the_result(showing, published):
    """Whole, and not partial."""
    answer = showing.get(RESULTS, params={"partial": "true"})
    assert (answer.status_code, answer.json()["partial"]) == (200, False)
    assert len(answer.json()["output_files"]) == len(list(published.rglob("*.txt")))


@pytest.mark.usefixtures("running")
def test_where_nothing_shows_results(api):
    """It is the same as without asking."""
    assert api.get(RESULTS, params={"partial": "true"}).status_code == 202
