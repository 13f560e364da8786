"""Waiting for an execution."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from starlette.responses import HTMLResponse, JSONResponse

from api_client.client import Earth2StudioClient, InferenceRequest, RequestStatus
from api_client.e2client import RemoteEarth2Workflow, RemoteEarth2WorkflowResult
from api_client.exceptions import APIConnectionError, BadRequestError, Earth2StudioAPIError, RequestTimeoutError

ID = "exec_1769560728_10ed9d3c"


def test_waiting_goes_through_every_status_to_the_results(peer, client):
    """From `queued` over `pending_results` to the metadata, submitted and waited for in one call."""
    peer.statuses = ["accepted", "queued", "running", "pending_results", "completed"]
    results = client.run_inference_sync(InferenceRequest({"a": 1}), poll_interval=0.01, timeout=60)
    assert (results.request_id, results.status) == (ID, RequestStatus.COMPLETED)
    assert peer.asked(f"/v1/infer/wf/{ID}/status") == 5


def test_a_short_execution_is_not_waited_for_the_whole_interval(peer, client):
    """The default interval of five seconds is the longest pause, not the first one."""
    peer.statuses = ["queued", "completed"]
    began = time.monotonic()
    client.wait_for_completion(ID)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "failed: no convergence"), ("cancelled", "cancelled"), ("expired", "expired")],
)
def test_an_execution_without_results_ends_the_wait(peer, client, status, words):
    """Failed, cancelled and expired are exceptions that say so; `expired` is no parser's error."""
    peer.statuses, peer.error_message = ["running", status], "no convergence"
    with pytest.raises(Earth2StudioAPIError, match=words):
        client.wait_for_completion(ID, poll_interval=0.01)


def test_expired_results_that_are_asked_for_are_a_bad_request(peer, client):
    """The server's 400 keeps its class and its reason."""
    body = {"detail": {"error": "Results expired", "details": f"those of {ID}", "timestamp": "x"}}
    peer.override = lambda _request: JSONResponse(body, 400)
    with pytest.raises(BadRequestError, match="Results expired") as caught:
        client.get_request_results(ID)
    assert caught.value.details == f"those of {ID}"


def test_the_time_for_an_execution_is_not_that_of_a_request(peer, client):
    """An answer that takes longer than what is left of the job's time is waited for as any other request."""

    def slow_results(request):
        if request.url.path.endswith("/results"):
            time.sleep(0.4)

    peer.override = slow_results
    assert client.wait_for_completion(ID, timeout=0.2).request_id == ID


def test_a_request_has_its_own_timeout(peer):
    """However long an execution may take, a server that goes silent is noticed after the client's timeout."""

    def silent(_request):
        time.sleep(0.5)

    peer.override = silent
    with peer.client(timeout=0.05, max_retries=0) as client:
        began = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            client.wait_for_completion(ID, timeout=3600)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("timeout", [0.0, 0.2])
def test_an_execution_that_takes_longer_is_a_timeout(peer, client, timeout):
    """The wait ends with the time given, not with the next poll; without any, after one look."""
    peer.statuses = ["running"]
    began = time.monotonic()
    with pytest.raises(RequestTimeoutError, match="running"):
        client.wait_for_completion(ID, poll_interval=100, timeout=timeout)
    assert time.monotonic() - began < 10
    assert timeout or len(peer.requests) == 1


def test_a_saved_execution_id_is_enough(peer):
    """A result that was submitted before, by another process, is waited for and opened."""
    workflow = RemoteEarth2Workflow(peer.origin, workflow_name="wf")
    submitted = workflow(start_time=["2025-08-21"])
    later = RemoteEarth2WorkflowResult(RemoteEarth2Workflow(peer.origin, workflow_name="wf"), submitted.execution_id)
    with pytest.raises(Earth2StudioAPIError, match="neither a zarr store nor a netCDF file"):
        later.as_dataset()
    assert peer.bodies == [{"parameters": {"start_time": ["2025-08-21"]}}]


def test_a_result_is_asked_for_once(peer):
    """However many views of it are opened, the wait is one."""
    workflow = RemoteEarth2Workflow(peer.origin, "wf")
    result = workflow()
    for _ in range(2):
        with pytest.raises(Earth2StudioAPIError):
            result.as_dataset()
    assert peer.asked(f"/v1/infer/wf/{ID}/results") == 1


def run(url):
    with Earth2StudioClient(url, "wf", max_retries=0) as client:
        return client.run_inference_sync(InferenceRequest({"a": 1}), poll_interval=0.01).request_id


def submit_and_wait(url):
    with Earth2StudioClient(url, "wf", max_retries=0) as client:
        submitted = client.submit_inference_request(InferenceRequest({"a": 1}))
        return client.wait_for_completion(submitted.execution_id, poll_interval=0.01).request_id


def open_result(url):
    with pytest.raises(Earth2StudioAPIError, match="neither a zarr store nor a netCDF file") as caught:
        RemoteEarth2Workflow(url, "wf", max_retries=0)().as_dataset()
    return caught.value.message.split()[0]


@pytest.mark.parametrize("waiter", [run, submit_and_wait, open_result])
def test_waiting_survives_a_restart_of_the_server(peer, serve_again, waiter):
    """Connections that are refused while the server restarts do not end the wait."""
    peer.statuses = ["running"]
    with ThreadPoolExecutor() as pool:
        with serve_again(0) as url:
            waiting = pool.submit(waiter, url)
            deadline = time.monotonic() + 20
            while not peer.asked(f"/v1/infer/wf/{ID}/status"):
                assert time.monotonic() < deadline, "nobody waits"
                time.sleep(0.005)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        peer.statuses = ["completed"]
        with serve_again(urlsplit(url).port):
            assert waiting.result(30) == ID


@pytest.mark.parametrize("part", ["status", "results"])
def test_waiting_survives_a_proxy_without_its_server(peer, part):
    """A 503 is no end either, whether the status or the results are asked for."""
    left = [4]

    def gone(request):
        if not request.url.path.endswith(part) or not left[0]:
            return None
        left[0] -= 1
        return HTMLResponse("<h1>no upstream</h1>", 503)

    peer.override = gone
    with peer.client(max_retries=0) as client:
        client.health_check()
        assert client.wait_for_completion(ID, poll_interval=0.01).request_id == ID


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (JSONResponse({"error": "give a token"}, 401), 401),
        (JSONResponse({"error": "no such execution"}, 404), 404),
        (HTMLResponse("<h1>log in</h1>"), 200),
        (HTMLResponse("<h1>no upstream</h1>", 502), 502),
    ],
)
def test_an_error_that_ends_a_wait_names_the_execution(peer, answer, code):
    """Whatever it is, it keeps its status, and the user can go on with the execution."""
    with peer.client(max_retries=0) as client:
        submitted = client.submit_inference_request(InferenceRequest({}))
        peer.override = lambda _request: answer
        with pytest.raises(Earth2StudioAPIError, match=ID) as caught:
            client.wait_for_completion(submitted.execution_id, timeout=0.3)
    assert caught.value.status_code == code
    assert ID in caught.value.message


def test_a_wrong_address_is_not_waited_for():
    """A server that has never answered is no server that restarts: the error comes at once."""
    began = time.monotonic()
    with (
        Earth2StudioClient("http://127.0.0.1:9", "wf", max_retries=0) as client,
        pytest.raises(APIConnectionError, match=ID),
    ):
        client.wait_for_completion(ID)
    assert time.monotonic() - began < 20
