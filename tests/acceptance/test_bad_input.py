"""What is wrong gets a clear error; the execution fails with the reason, and the service lives on."""

import http.client
import json
import re
import resource
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import wildcast

ERROR_KEYS = {"error", "details", "detail"}


def test_an_unknown_workflow_is_404_and_the_known_ones_are_named(running):
    """The answer says what there is."""
    answer = running.http.post("/v1/infer/no_such", json={"parameters": {}})
    assert answer.status_code == 404
    assert answer.json().keys() == ERROR_KEYS
    assert "writes_text" in answer.json()["error"]


def test_invalid_parameters_are_422_and_each_field_is_named(running):
    """All that is wrong is said at once, in words and for machines."""
    answer = running.http.post("/v1/infer/writes_text", json={"parameters": {"copies": "many", "colour": 1}})
    assert answer.status_code == 422
    assert {entry["field"] for entry in answer.json()["details"]} == {"copies", "colour"}
    assert "copies" in answer.json()["error"]
    assert "colour" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"parameters": 1}', b'{"params": {}}', b"\xff"])
def test_a_body_that_is_no_submission_is_refused(running, body):
    """Rubbish is answered 4xx in the form of every other error."""
    answer = running.http.post("/v1/infer/writes_text", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json().keys() == ERROR_KEYS


def test_a_body_that_is_too_long_is_413(start):
    """Announced or not, more than the limit is not read."""
    running = start(**{"api.max_body_bytes": 1000})
    body = json.dumps({"parameters": {"text": "x" * 2000}}).encode()
    assert running.http.post("/v1/infer/writes_text", content=body).status_code == 413
    assert running.http.post("/v1/infer/writes_text", content=iter([body[:900], body[900:]])).status_code == 413
    running.assert_alive()


@pytest.mark.parametrize("path", ["status", "results", "results/a.txt"])
@pytest.mark.parametrize("execution_id", ["exec_1_00000000", "nonsense", "..%2f..", "%00"])
def test_an_unknown_execution_is_404(running, path, execution_id):
    """Whatever stands where an id belongs, nothing but 404 comes of it."""
    answer = running.http.get(f"/v1/infer/writes_text/{execution_id}/{path}")
    assert answer.status_code == 404
    assert answer.json().keys() == ERROR_KEYS


def test_another_workflows_execution_is_unknown(running):
    """An id is looked up within its workflow."""
    execution = running.client.submit("writes_text")
    assert running.http.get(f"/v1/infer/raises/{execution.id}/status").status_code == 404


@pytest.mark.parametrize("storage_type", ["s3", "server"])
@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "a/../../secret",
        "%252e%252e/secret",
        "..%5csecret",
        "%00",
        "/etc/passwd",
        "0.txt/",
    ],
)
def test_a_path_never_leaves_its_result(shared, storage_type, path):
    """Raw and encoded traversal is 400 or 404, and never a redirect or somebody else's bytes."""
    running = shared(storage_type)
    (running.data / "outputs" / "secret").write_text("secret")
    execution = running.client.submit("writes_text")
    execution.wait(timeout=60, progress=False)
    connection = http.client.HTTPConnection(urlsplit(running.stack.api_url).netloc)
    # http.client sends the path as it is; other clients would tidy it up.
    connection.putrequest("GET", f"/v1/infer/writes_text/{execution.id}/results/{path}", skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in (400, 404)
    assert json.loads(answer.read()).keys() == ERROR_KEYS
    connection.close()


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        ("raises", "ArithmeticError: no convergence"),
        ("exits", "3"),
        ("is_killed", "SIGKILL"),
        ("writes_nothing", "empty|no file"),
        ("writes_reserved_name", r"\.wildcast"),
        ("links_out", "passwd"),
    ],
)
def test_a_workflow_that_fails_ends_failed_with_the_reason(running, workflow, words):
    """However it ends, the record says why, results are 404 with that reason, and the worker lives on."""
    execution, reason = running.failure(workflow)
    assert re.search(words, reason)
    answer = running.http.get(f"/v1/infer/{workflow}/{execution.id}/results")
    assert answer.status_code == 404
    assert reason in answer.json()["error"]
    status = execution.status()
    assert (status.status, status.position) == ("failed", None)
    assert status.end_time is not None
    running.assert_alive()


@pytest.mark.parametrize("workflow", ["raises", "exits", "is_killed"])
def test_the_output_directory_of_a_failure_stays(running, workflow):
    """What was computed is there to be looked at; in the store there is nothing."""
    execution, _ = running.failure(workflow)
    assert (running.output_directory(execution) / "partial.txt").read_text() == "partial"
    assert not (running.data / "objects" / "outputs" / execution.id).exists()


def test_the_last_words_of_a_dead_workflow_are_in_the_reason(running):
    """Standard error's end is often the only explanation there is."""
    _, reason = running.failure("exits")
    assert "about to leave" in reason


def test_a_bucket_that_does_not_exist_is_named(start, s3_endpoint):
    """The reason names the bucket; the output stays for the next try."""
    running = start(**s3_settings(s3_endpoint, "no-such-bucket"))
    execution, reason = running.failure("writes_text")
    assert "no-such-bucket" in reason
    assert (running.output_directory(execution) / "0.txt").exists()


class Refusing(BaseHTTPRequestHandler):
    """An S3 that allows nothing."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def refusing_endpoint():
    """The address of an S3 endpoint that answers 403 to everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_upload_that_is_refused_fails_with_the_stores_word(start, refusing_endpoint):
    """Access denied reads as access denied; the secret key is in no answer."""
    running = start(**s3_settings(refusing_endpoint, "my-bucket"))
    execution, reason = running.failure("writes_text")
    assert "denied" in reason.lower() or "refused" in reason.lower()
    assert "canary" not in running.http.get(f"/v1/infer/writes_text/{execution.id}/status").text
    assert (running.output_directory(execution) / "0.txt").exists()


def test_an_endpoint_that_is_down_fails_with_its_address(start):
    """Nobody listens: the reason says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**s3_settings(f"http://127.0.0.1:{port}", "my-bucket"), "object_storage.retry_deadline": 2}
    _, reason = start(**settings).failure("writes_text")
    assert "my-bucket" in reason


def s3_settings(endpoint: str, bucket: str) -> dict[str, object]:
    return {
        "object_storage.bucket": bucket,
        "object_storage.endpoint_url": endpoint,
        "object_storage.access_key_id": "canary-key",
        "object_storage.secret_access_key": "canary-secret",
    }


def test_a_full_disk_fails_the_execution_and_not_the_service(tmp_path, clean_environment):
    """Where the file system takes no more, the workflow's OSError is the reason, and the next execution runs."""
    workflows = Path(__file__).parent / "workflows"
    command = [
        *(Path(sys.executable).parent / "wildcast-server", "--set", f"workflows.directories=[{workflows}]"),
        *("--set", "results.min_free_disk_bytes=0", "serve", "--port", "0", "--edge-port", "0"),
    ]
    environment = clean_environment | {"WILDCAST_DATA_DIR": str(tmp_path / "data"), "OBJECT_STORAGE_ENABLED": "true"}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))

    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    ) as server:
        try:
            url = next(line.split()[1] for line in server.stderr if line.startswith("API")).removesuffix("/docs")
            drain = threading.Thread(target=server.stderr.read)
            drain.start()
            with wildcast.Client(url) as client:
                with pytest.raises(wildcast.ExecutionFailedError, match="File too large"):
                    client.submit("fills_the_disk", megabytes=32).wait(timeout=60, progress=False)
                assert client.submit("writes_text").wait(timeout=60, progress=False).paths
        finally:
            server.terminate()
            server.wait(60)
            drain.join()
    assert server.returncode == 0


def test_too_little_free_disk_refuses_submissions(start):
    """Below the configured reserve a submission is 503 with Retry-After, and nothing is recorded."""
    running = start(**{"results.min_free_disk_bytes": 1 << 60})
    answer = running.http.post("/v1/infer/writes_text", json={"parameters": {}})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_several_workflows_need_a_name_and_none_is_503(start, tmp_path):
    """`POST /v1/infer` serves the only exposed workflow: several are 409, none is 503."""
    assert start().http.post("/v1/infer", json={"parameters": {}}).status_code == 409
    only = start(**{"workflows.exposed": ["writes_text"], "data_dir": tmp_path / "only"})
    assert only.http.post("/v1/infer", json={"parameters": {}}).json()["workflow_name"] == "writes_text"
    (tmp_path / "nothing").mkdir()
    none = start(**{"workflows.directories": [tmp_path / "nothing"], "data_dir": tmp_path / "none"})
    assert none.http.post("/v1/infer", json={"parameters": {}}).status_code == 503


def test_a_second_stack_on_the_same_port_says_which_setting_to_change(start):
    """A port that is taken is a sentence, not a traceback."""
    from wildcast_server.errors import SettingsError

    running = start()
    port = urlsplit(running.stack.api_url).port
    with pytest.raises(SettingsError, match=rf"{port}.*api\.port"):
        start(**{"api.port": port})


def test_the_command_line_without_its_extra_says_how_to_install_it(tmp_path):
    """A client-only installation answers `wildcast-server` with the pip command."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(\"No module named 'click'\", name='click')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from wildcast_server.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'wildcast[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_methods_and_routes_that_do_not_exist_have_error_bodies_too(running):
    """404 and 405 of the framework have the same form as ours."""
    for answer in (running.http.get("/nowhere"), running.http.delete("/health")):
        assert answer.status_code in (404, 405)
        assert answer.json().keys() == ERROR_KEYS


def test_a_redirect_may_not_be_cached(running):
    """A redirect holds a signature, so no proxy may keep it."""
    execution = running.client.submit("writes_text")
    execution.wait(timeout=60, progress=False)
    answer: httpx.Response = running.http.get(f"/v1/infer/writes_text/{execution.id}/results/0.txt")
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
