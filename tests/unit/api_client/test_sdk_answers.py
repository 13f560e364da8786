"""The client's requests, and what becomes of either server's answers."""

import pickle
import socket
import time
from http import HTTPStatus

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from api_client.client import Earth2StudioClient, InferenceRequest, RequestStatus
from api_client.exceptions import (
    APIConnectionError,
    BadRequestError,
    Earth2StudioAPIError,
    InferenceRequestNotFoundError,
    InternalServerError,
    RequestTimeoutError,
)

ID = "exec_1769560728_10ed9d3c"


def always(answer):
    return lambda _request: answer


def test_a_submission_carries_the_parameters_and_the_token(peer):
    """The body is `{"parameters": …}`, and the token goes as a bearer's, with JSON wanted in return."""
    with peer.client(token="canary") as client:
        submitted = client.submit_inference_request(InferenceRequest({"nsteps": 4, "name": "Zürich"}))
    assert (submitted.execution_id, submitted.status) == (ID, RequestStatus.QUEUED)
    assert peer.bodies == [{"parameters": {"nsteps": 4, "name": "Zürich"}}]
    assert peer.headers[0]["authorization"] == "Bearer canary"
    assert peer.headers[0]["accept"] == peer.headers[0]["content-type"] == "application/json"


def test_an_empty_token_is_none(peer):
    """Scripts pass what `os.getenv` returns, and an empty text is no token."""
    with peer.client(token="") as client:
        client.health_check()
    assert "authorization" not in peer.headers[0]


def test_a_trailing_slash_of_the_address_does_not_matter(peer):
    """No request has two slashes in a row."""
    with Earth2StudioClient(f"{peer.origin}/", "wf") as client:
        assert client.base_url == peer.origin
        assert client.health_check().status == "healthy"
    assert peer.requests == [("GET", "/health")]


OURS = {"error": "It is wrong.", "details": "because", "detail": "It is wrong."}
THEIRS = {"detail": {"error": "It is wrong.", "details": "because", "timestamp": "x"}}


@pytest.mark.parametrize("body", [OURS, THEIRS], ids=["wildcast", "earth2studio"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (404, InferenceRequestNotFoundError),
        (500, InternalServerError),
        (422, Earth2StudioAPIError),
        (429, Earth2StudioAPIError),
        (401, Earth2StudioAPIError),
        (503, Earth2StudioAPIError),
    ],
)
def test_an_error_has_its_class_status_and_words(peer, client, body, status, kind):
    """Both servers' bodies give the same exception: their own sentence, and its details."""
    peer.override = always(JSONResponse(body, status))
    with pytest.raises(Earth2StudioAPIError) as caught:
        client.get_request_status(ID)
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.details) == ("It is wrong.", "because")
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    ("answer", "message", "details"),
    [
        (JSONResponse({"detail": "Workflow 'x' not found"}, 404), "Workflow 'x' not found", None),
        (
            JSONResponse({"detail": [{"loc": ["body"], "msg": "no"}]}, 422),
            f"The server answered 422 {HTTPStatus(422).phrase}.",
            [{"loc": ["body"], "msg": "no"}],
        ),
        (
            JSONResponse({"detail": {"error": "Failed", "details": "no results", "error_message": "NaN"}}, 404),
            "Failed",
            "no results: NaN",
        ),
        (
            JSONResponse({"error": "bad", "details": {"fields": [{"field": "a"}]}, "detail": "bad"}, 422),
            "bad",
            {"fields": [{"field": "a"}]},
        ),
        (PlainTextResponse("no upstream", 418), "no upstream", None),
        (HTMLResponse("<html>proxy</html>", 418), "The server answered 418 I'm a Teapot.", None),
        (JSONResponse({}, 418), "The server answered 418 I'm a Teapot.", None),
        (JSONResponse(["not", "an", "object"], 418), '["not","an","object"]', None),
        (
            RedirectResponse("https://elsewhere/x?token=canary", 307),
            "The server redirects to https://elsewhere/x; give that address.",
            None,
        ),
    ],
)
def test_an_error_of_any_form_says_what_the_server_said(peer, client, answer, message, details):
    """FastAPI's texts, lists and objects, a proxy's page and a redirect: none is a crash, none is shown whole."""
    peer.override = always(answer)
    with pytest.raises(Earth2StudioAPIError) as caught:
        client.get_request_status(ID)
    assert (caught.value.message, caught.value.details) == (message, details)


def test_a_submission_that_fails_in_the_server_is_not_repeated(peer, client):
    """A POST goes out once: another one might be another execution."""
    peer.override = always(JSONResponse({"detail": "no"}, 500))
    with pytest.raises(InternalServerError):
        client.submit_inference_request(InferenceRequest({}))
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_question_is_repeated_as_often_as_it_was(peer, status):
    """GETs are asked again after these, `max_retries` times."""
    left = [2]

    def failing(_request):
        left[0] -= 1
        return JSONResponse({"detail": "later"}, status) if left[0] >= 0 else None

    peer.override = failing
    with peer.client(max_retries=2) as client:
        assert client.health_check().status == "healthy"
    assert len(peer.requests) == 3


def test_without_retries_the_first_answer_counts(peer):
    """`max_retries=0` asks once."""
    peer.override = always(JSONResponse({"detail": "later"}, 503))
    with peer.client(max_retries=0) as client, pytest.raises(Earth2StudioAPIError) as caught:
        client.health_check()
    assert (len(peer.requests), caught.value.status_code) == (1, 503)


def test_a_server_that_is_not_there_is_a_connection_error():
    """Nobody listens: one of the SDK's own exceptions, by both of its names."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Earth2StudioClient(url, max_retries=0) as client, pytest.raises(APIConnectionError, match=r"127\.0\.0\.1"):
            client.health_check()


def test_a_silent_server_is_a_timeout(peer):
    """The client's `timeout` bounds the silence of one request."""

    def silent(_request):
        time.sleep(0.5)

    peer.override = silent
    with peer.client(timeout=0.05, max_retries=0) as client, pytest.raises(RequestTimeoutError):
        client.health_check()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://user:pw@host", "nonsense"])
def test_an_address_that_is_none_is_refused_at_once(url):
    """A wrong address is the SDK's exception, and its password is not repeated."""
    with pytest.raises(Earth2StudioAPIError) as caught:
        Earth2StudioClient(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"execution_id": "e", "status": "dancing"}', b"null"])
def test_an_answer_that_is_not_the_apis_is_an_api_error(peer, client, body):
    """A proxy's page with status 200, or a status of the future, is no parser's traceback."""
    peer.override = always(PlainTextResponse(body))
    with pytest.raises(Earth2StudioAPIError, match=r"127\.0\.0\.1") as caught:
        client.get_request_status(ID)
    assert caught.value.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"message": "it runs", "status": "running"},
        {"detail": {"message": "it runs", "status": "running", "timestamp": "x"}},
    ],
    ids=["wildcast", "earth2studio"],
)
def test_results_that_are_not_there_yet_are_202(peer, client, body):
    """Asked too early, the exception has 202 and the status, whichever server answers."""
    peer.override = always(JSONResponse(body, 202))
    with pytest.raises(Earth2StudioAPIError) as caught:
        client.get_request_results(ID)
    assert (caught.value.status_code, caught.value.message, caught.value.details) == (202, "it runs", "running")


def test_an_execution_id_cannot_become_another_path(peer, client):
    """What is not an id is asked about as one, never as a route."""
    with pytest.raises(InferenceRequestNotFoundError):
        client.get_request_status("../../health?x=#")
    assert peer.requests == [("GET", "/v1/infer/wf/..%2F..%2Fhealth%3Fx%3D%23/status")]


def test_the_token_is_in_no_repr(peer):
    """Neither the client nor a workflow shows it."""
    from api_client.e2client import RemoteEarth2Workflow, RemoteEarth2WorkflowResult

    workflow = RemoteEarth2Workflow(peer.origin, "wf", token="canary")
    shown = f"{workflow!r} {workflow.client!r} {RemoteEarth2WorkflowResult(workflow, ID)!r}"
    assert "canary" not in shown
    assert workflow.client.token == "canary"


def test_a_client_travels_between_processes_without_its_token(peer, monkeypatch):
    """Pickled it holds no secret; where it arrives, ``WILDCAST_TOKEN`` says who asks."""
    with peer.client(token="canary", max_retries=1) as client:
        client.as_wildcast(client.get_request_results(ID))
        sent = pickle.dumps(client)
    assert b"canary" not in sent
    monkeypatch.setenv("WILDCAST_TOKEN", "there")
    with pickle.loads(sent) as again:  # noqa: S301 - our own
        assert again.health_check().status == "healthy"
        assert (again.workflow_name, again.timeout, again.token) == ("wf", 30.0, None)
    assert peer.headers[-1]["authorization"] == "Bearer there"


def test_errors_travel_between_processes():
    """They are pickled with all that they know."""
    for error in (BadRequestError("no", "d"), Earth2StudioAPIError("no", 418, {"a": 1}), RequestTimeoutError()):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_closed_client_opens_again(peer):
    """As with the SDK's session, `close` frees connections and forbids nothing."""
    client = peer.client()
    client.close()
    assert client.health_check().status == "healthy"
    client.close()


def test_a_file_of_results_that_have_expired_says_so(peer, client):
    """What the server says about a file that it serves itself is the exception's message, as for the results."""
    peer.storage_type, peer.files = "server", {"a.nc": b"12"}
    results = client.get_request_results(ID)
    peer.override = always(JSONResponse({"error": f"the results of {ID} have expired"}, 400))
    with pytest.raises(BadRequestError, match=f"the results of {ID} have expired"):
        client.download_result(results, "a.nc")
