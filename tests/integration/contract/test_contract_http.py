"""What holds of every route, against a real service with every part of it."""

import http.client
import time

import pytest

UNKNOWN = "exec_1_00000000"
BELOW = "/v1/infer/writes"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/v1/infer/workflows/writes/schema", "GET, HEAD"),
        ("PUT", f"{BELOW}/{UNKNOWN}/status", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/results", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/results/a.txt", "GET, HEAD"),
        ("POST", f"{BELOW}/{UNKNOWN}/archive", "GET, HEAD"),
        ("DELETE", "/v1/infer", "GET, HEAD, POST"),
        ("OPTIONS", BELOW, "GET, HEAD, POST"),
        ("GET", f"{BELOW}/{UNKNOWN}", "DELETE"),
    ],
)
def test_a_method_that_a_route_lacks(local, method, path, allowed, is_error):
    """405 with all that it has, and an error's body."""
    answer = local.http.request(method, path)
    is_error(answer, 405, allowed)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v1/infer/a/b/c", "//health", "/docs/x"])
def test_a_path_that_there_is_not(local, path, is_error):
    """404 with an error's body that says where to look."""
    is_error(local.http.get(path), 404, "/docs")


@pytest.mark.parametrize(
    "path",
    ["/health", "/readiness", "/liveness", "/metrics", "/v1/infer/workflows", "/v1/infer/workflows/writes/schema"],
)
def test_a_slash_at_the_end_changes_nothing(local, path):
    """No redirect, which would lose a scheme behind a proxy, or a client that follows none."""
    assert local.http.get(f"{path}/").status_code == 200
    assert local.http.get(f"{path}//").status_code == 404


def test_a_slash_at_the_end_of_an_executions_paths(local):
    """A submission, a status, a result; but of a file it is part of a name that there is not."""
    name = local.http.post(f"{BELOW}/", json={"parameters": {}}).json()["execution_id"]
    local.ended(name)
    assert local.http.get(f"{BELOW}/{name}/status/").json()["status"] == "completed"
    assert local.http.get(f"{BELOW}/{name}/results/").json()["request_id"] == name
    assert local.http.get(f"{BELOW}/{name}/results/a.txt/").status_code in (400, 404)
    for path in ("status%2F", "results%2f"):  # the encoded one is no separator
        assert local.http.get(f"{BELOW}/{name}/{path}").status_code in (400, 404)


def test_the_page_with_a_slash_is_the_page(local):
    """Its parts are named relative to it, so the slash is taken away where the browser sees it."""
    redirect = local.http.get("/docs/")
    assert (redirect.status_code, redirect.headers["location"]) == (308, "../docs")


def test_no_origin_is_let_in(local):
    """No page of another site may read answers, with or without credentials; nothing reflects its origin."""
    headers = {"Origin": "https://evil.example", "Cookie": "a=b"}
    preflight = {**headers, "Access-Control-Request-Method": "POST"}
    answers = [
        local.http.get("/v1/infer/workflows", headers=headers),
        local.http.get(f"{BELOW}/{UNKNOWN}/status", headers=headers),
        local.http.options(BELOW, headers=preflight),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "evil" not in str(answer.headers)


@pytest.mark.long
def test_connections_stay_open(local):
    """A client that asks every ten seconds needs no new one each time."""
    connection = http.client.HTTPConnection(local.http.base_url.host, local.http.base_url.port)
    connection.connect()
    first = connection.sock
    # Longer than the five seconds after which the server's library would have closed it.
    for pause in (0, 6):
        time.sleep(pause)
        connection.request("GET", "/liveness")
        assert connection.getresponse().read() == b'{"status":"alive"}'
    assert connection.sock is first
    connection.close()
