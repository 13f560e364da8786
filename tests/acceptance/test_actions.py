"""Acting on executions through the whole stack: what the answer promises is what happens."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

SECONDS = 60


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def ended(running, url: str) -> dict[str, Any]:
    def look():
        status = running.http.get(f"{url}/status", params={"wait": 5}).json()
        return status if status["status"] in {"completed", "failed", "cancelled"} else None

    return until(look)


def submit(running, workflow: str, **parameters: Any) -> str:
    answer = running.http.post(f"/v1/infer/{workflow}", json={"parameters": parameters})
    assert answer.status_code == 200, answer.text
    return f"/v1/infer/{workflow}/{answer.json()['execution_id']}"


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    # A zombie waits for nobody but init, which reaps it when it comes to it.
    return stat.rpartition(")")[2].split()[0] != "Z"


def stored(running, url: str) -> list[Path]:
    """Return all that the data directory has of an execution: objects and output."""
    name = url.rpartition("/")[2]
    return [path for path in running.data.rglob("*") if name in path.as_posix() and path.is_file()]


def test_a_workflow_that_will_not_stop_is_cancelled(running, tmp_path):
    """Within five seconds it and its child are gone, and nothing of it is left; the next one runs."""
    pids = tmp_path / "pids"
    url = submit(running, "will_not_stop", pids=str(pids))
    until(lambda: pids.exists() and pids.read_text().count(" "))
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(map(is_alive, family))
    until(lambda: running.http.get(f"{url}/status").json()["status"] == "running")

    began = time.monotonic()
    answer = running.http.post(f"{url}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer.json()["metadata"]["cancel_requested_at"] is not None
    assert ended(running, url)["status"] == "cancelled"
    assert time.monotonic() - began < 5
    assert not any(map(is_alive, family))
    assert running.http.post(f"{url}/cancel").json()["status"] == "cancelled"
    until(lambda: stored(running, url) == [])
    running.assert_alive()


def test_a_failed_publication_is_repeated_without_the_workflow(running, tmp_path):
    """What it wrote is published once it can be; the workflow was started once."""
    starts = tmp_path / "starts"
    url = submit(running, "leaves_a_link", starts=str(starts))
    failed = ended(running, url)
    assert (failed["status"], failed["metadata"]["failed_step"]) == ("failed", "publish")
    (running.data / "outputs" / url.rpartition("/")[2] / "link").unlink()

    retried = running.http.post(f"{url}/retry").json()
    assert retried["status"] in {"pending_results", "completed"}
    assert ended(running, url)["status"] == "completed"
    assert len(starts.read_text().splitlines()) == 1
    result = running.http.get(f"{url}/results").json()
    assert [file["path"].rpartition("/")[2] for file in result["output_files"]] == ["a.txt"]
    assert running.http.post(f"{url}/retry").status_code == 409


def test_a_failed_computation_is_repeated_in_a_new_attempt(running, tmp_path):
    """It goes to another place, and what the first attempt left is removed."""
    starts, needed = tmp_path / "starts", tmp_path / "needed"
    url = submit(running, "fails_without", path=str(needed), starts=str(starts))
    assert ended(running, url)["metadata"]["failed_step"] == "compute"
    needed.touch()
    assert running.http.post(f"{url}/retry").json()["status"] in {"queued", "running"}
    completed = ended(running, url)
    assert (completed["status"], completed["metadata"]["attempt"], completed["error_message"]) == ("completed", 2, None)
    assert len(starts.read_text().splitlines()) == 2
    result = running.http.get(f"{url}/results").json()
    link = result["signed_url"].replace("*", "a.txt", 1)
    assert httpx.get(link).text == "text"
    assert result["publication"]["attempt"] == 2


def test_a_deleted_result_is_gone_and_what_lies_beside_it_is_not(running):
    """The objects that its manifest lists, and no other."""
    url = submit(running, "writes_text", text="mine")
    assert ended(running, url)["status"] == "completed"
    result = running.http.get(f"{url}/results").json()
    link = result["signed_url"].replace("*", "0.txt", 1)
    assert httpx.get(link).text == "mine"
    (mine,) = [path for path in stored(running, url) if path.name == "0.txt"]
    foreign = mine.with_name("foreign.txt")
    foreign.write_text("not mine")

    assert [running.http.delete(url).status_code for _ in range(2)] == [204, 204]
    assert running.http.get(f"{url}/status").status_code == 404
    until(lambda: not mine.exists())
    until(lambda: stored(running, url) == [foreign])


def test_a_signature_opens_what_it_is_for_and_nothing_else(running):
    """At the edge: a directory's URL its files, a file's URL that file, and cookies what lies below their path."""
    url = submit(running, "writes_text", text="signed", copies=2)
    assert ended(running, url)["status"] == "completed"
    sign = f"{url}/sign"
    whole = running.http.post(sign, json={"expires_in": 60}).json()["url"]
    assert [httpx.get(whole.replace("*", f"{number}.txt", 1)).text for number in range(2)] == ["signed"] * 2
    one = running.http.post(sign, json={"path": "0.txt"}).json()["url"]
    assert httpx.get(one).text == "signed"
    assert httpx.get(one.replace("0.txt", "1.txt", 1)).status_code == 403
    elsewhere = running.http.post(sign, json={"path": "0.txt", "ip": "192.0.2.7"}).json()["url"]
    assert httpx.get(elsewhere).status_code == 403
    granted = running.http.post(sign, json={"kind": "cookies"}).json()
    base = whole.partition("*")[0]
    assert base.endswith(granted["path"])
    cookies = "; ".join(f"{name}={value}" for name, value in granted["cookies"].items())
    assert httpx.get(f"{base}1.txt", headers={"Cookie": cookies}).text == "signed"
    assert httpx.get(f"{base}1.txt").status_code == 403


def test_many_repetitions_of_a_request_run_once(running):
    """Sixteen at once with one key; then the list has that one execution under its label."""
    body = {"parameters": {"text": "once"}, "labels": {"test": "once"}}

    def post(_number: int) -> str:
        answer = running.http.post("/v1/infer/writes_text", json=body, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 200, answer.text
        return answer.json()["execution_id"]

    with ThreadPoolExecutor(16) as pool:
        (name,) = set(pool.map(post, range(16)))
    assert ended(running, f"/v1/infer/writes_text/{name}")["metadata"]["attempt"] == 1
    listed = running.http.get("/v1/infer/writes_text", params={"label": "test=once"}).json()
    assert [each["execution_id"] for each in listed["executions"]] == [name]


@pytest.mark.long
def test_a_result_of_this_server_is_deleted_as_well(shared):
    """Its directory goes."""
    running = shared("server")
    url = submit(running, "writes_text")
    assert ended(running, url)["status"] == "completed"
    assert stored(running, url)
    assert running.http.delete(url).status_code == 204
    until(lambda: stored(running, url) == [])
