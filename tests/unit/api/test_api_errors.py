"""Which answer each error becomes, and what its body has; and what else the app as a whole promises."""

import inspect

import pytest

from wildcast.contract.naming import MANIFEST_PATH, InvalidPathError
from wildcast_server import errors
from wildcast_server.api.errors import status_of
from wildcast_server.domain.execution import Execution

ID = "exec_1_00000001"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownWorkflowError("x"), 404),
        (errors.UnknownExecutionError("x"), 404),
        (errors.NotFoundError("x"), 404),
        (errors.InvalidParametersError("x", []), 422),
        (errors.StatusConflictError("x"), 409),
        (errors.IdempotencyConflictError("x"), 409),
        (errors.ForbiddenAddressError("x"), 422),
        (errors.QueueFullError("x", 30), 429),
        (errors.ServiceUnavailableError("x"), 503),
        (errors.NetworkError("x"), 503),
        (errors.AccessDeniedError("x"), 502),
        (errors.NoSuchBucketError("x"), 502),
        (errors.StoreIoError("x"), 502),
        (InvalidPathError("x"), 400),
        (errors.SigningError("x"), 500),
        (RuntimeError("x"), 500),
    ],
)
def test_each_error_has_its_status(error, status):
    """The most specific class decides."""
    assert status_of(error) == status


def test_no_store_error_reads_as_missing_but_the_one():
    """Readers take 404 for "never written", so nothing else of a store may become it."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StoreError)]
    assert [kind for kind in kinds if status_of(kind("x")) == 404] == [errors.NotFoundError]


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (errors.ServiceUnavailableError("the database is away"), 503, True),
        (errors.AccessDeniedError("the store refused"), 502, False),
        (RuntimeError("canary"), 500, False),
    ],
)
def test_an_error_leaves_as_an_error_body(api, records, error, status, retry):
    """All three members, the sentence twice, and when to come again; an unexpected one's text stays in the log."""
    records.error = error
    answer = api.get(f"/v1/infer/results/{ID}/status")
    assert answer.status_code == status
    body = answer.json()
    assert body.keys() == {"error", "details", "detail"}
    assert body["error"] == body["detail"]
    assert "canary" not in answer.text
    assert ("retry-after" in answer.headers) == retry


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{", "application/json", "JSON decode error"),
        (b"\xff", "application/json", "cannot be read as JSON"),
        (b'{"parameters": 1}', "application/json", "parameters: "),
        (b'{"params": {}}', "application/json", "params: "),
        (b'{"parameters": {}}', "application/x-www-form-urlencoded", "Content-Type: application/json"),
    ],
)
def test_a_body_that_is_refused_says_what_is_wrong(api, body, kind, words):
    """The sentence names the field, or the header that curl's users forget."""
    answer = api.post("/v1/infer/results", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"paths": 1}'])
def test_what_another_route_takes_is_named_as_well(api, body):
    """A body for `sign` is no submission, and the sentence does not ask for parameters."""
    answer = api.post(f"/v1/infer/results/{ID}/sign", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "what sign takes" in answer.json()["error"]
    assert "parameters" not in answer.json()["error"]


@pytest.mark.parametrize("body", [b'{"parameters": null}', b"{}"])
def test_no_parameters_at_all_are_all_defaults(api, records, body):
    """Existing clients send null for a request without any."""
    answer = api.post("/v1/infer/results", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert records.get(answer.json()["execution_id"]).parameters == {"n": 1}


@pytest.mark.parametrize("path", ["/nothing", f"/v1/infer/results/{ID}/status", f"/v1/infer/results/{ID}/results"])
def test_no_cache_keeps_an_error(api, path):
    """What is not there now may be there a moment later."""
    answer = api.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    "path",
    ["/health", "/readiness", "/liveness", "/metrics", "/v1/infer/workflows", "/v1/infer/workflows/results/schema"],
)
def test_head_is_answered_as_get_is(api, path):
    """Every server has to; load balancers use it."""
    assert api.head(path).status_code == api.get(path).status_code == 200


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("path", [f"{ID}/status", f"{ID}/results", f"{ID}/results/a%20b%3F%23%25.txt"])
def test_head_of_an_execution(api, path):
    """Also for what belongs to an execution; a file's size is in its header."""
    assert api.head(f"/v1/infer/results/{path}").status_code == 200
    if path.endswith(".txt"):
        assert api.head(f"/v1/infer/results/{path}").headers["content-length"] == "10"


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("results/a.txt", "inner"),
        (f"{ID}/results/a.txt", "inner"),
        ("a%20b%3F%23%25.txt", "0123456789"),
    ],
)
def test_a_file_is_found_whatever_words_are_in_the_url(api, path, text):
    """A workflow and a directory may be called `results`; names are decoded once."""
    assert api.get(f"/v1/infer/results/{ID}/results/{path}").text == text


@pytest.mark.usefixtures("published")
def test_an_encoded_slash_anywhere_is_refused(api):
    """With one before the file's path, it would not be clear where that begins."""
    for path in (
        f"results%2F{ID}/results/results/a.txt",
        f"results/{ID}/results/results%2fa.txt",
        f"results/{ID}%2Fresults%2Fa.txt",
        f"results/{ID}/results%2F",
    ):
        answer = api.get(f"/v1/infer/{path}")
        assert answer.status_code in (400, 404)
        assert "inner" not in answer.text


def test_a_file_that_was_lost_is_not_missing(api, published):
    """The manifest lists it, so a reader must not take it for a chunk that was never written."""
    (published / "results" / "a.txt").unlink()
    answer = api.get(f"/v1/infer/results/{ID}/results/results/a.txt")
    assert answer.status_code == 502
    assert "results/a.txt" in answer.json()["error"]
    assert api.get(f"/v1/infer/results/{ID}/results/results/never.txt").status_code == 404


@pytest.mark.usefixtures("published")
def test_the_manifest_can_be_fetched(api):
    """It is no row of itself, and still a file of the result."""
    assert api.get(f"/v1/infer/results/{ID}/results/{MANIFEST_PATH}").content.startswith(b"\x1f\x8b")


@pytest.mark.usefixtures("published")
def test_a_range_that_cannot_be_is_416_with_the_size(api):
    """The form of any error, and the header that says how long the file is."""
    answer = api.get(f"/v1/infer/results/{ID}/results/results/a.txt", headers={"Range": "bytes=5-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */5")
    assert answer.json().keys() == {"error", "details", "detail"}


def test_a_result_that_is_to_come_is_202(api, records):
    """Message and status at the top level, and when to ask again: existing clients depend on it."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    answer = api.get(f"/v1/infer/results/{ID}/results")
    assert answer.status_code == 202
    assert answer.json().keys() == {"message", "status"}
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("published")
def test_a_client_may_ask_for_json_of_a_binary(api):
    """Existing clients send this header with everything; 406 would break them."""
    answer = api.get(f"/v1/infer/results/{ID}/results/results/a.txt", headers={"Accept": "application/json"})
    assert answer.text == "inner"


def test_a_clients_error_does_not_tell_where_the_server_keeps_things(api, records):
    """Of a store of files the sentence has the file's name, and not the directories above it."""
    uri = "file:///srv/private/outputs/exec_1/a.txt"
    records.error = errors.AccessDeniedError(f"{uri} could not be read: permission denied", uri)
    answer = api.get(f"/v1/infer/results/{ID}/status")
    assert answer.json()["error"] == "a.txt could not be read: permission denied"


@pytest.mark.parametrize("path", [f"/v1/infer/results/{ID}/status", "/health", "/readiness"])
def test_a_clients_error_does_not_tell_where_the_database_is(api, records, caplog, path):
    """What its driver says has hosts and users; our log has it."""
    records.error = errors.ServiceUnavailableError("the database cannot be used now", "no route to 10.0.0.3 for me")
    answer = api.get(path)
    assert (answer.status_code, answer.json()["error"]) == (503, "the database cannot be used now")
    assert "10.0.0.3" not in answer.text
    assert "10.0.0.3" in caplog.text
