"""Watching an execution while it runs, and reading what it has stored so far, through the whole stack."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

SECONDS = 60


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def _opened(metadata: dict[str, Any], target: Path) -> np.ndarray:
    """Fetch what is listed, as anybody can who has the URL, and open it."""
    base, _, query = metadata["signed_url"].partition("*?")
    for file in metadata["output_files"]:
        path = file["path"].split("/", 1)[1]
        answer = httpx.get(f"{base}{path}?{query}")
        assert answer.status_code == 200, path
        assert len(answer.content) == file["size"]
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(answer.content)
    with xr.open_zarr(target / "forecast.zarr", consolidated=True, chunks=None) as data:
        return np.asarray(data["t"].values)


@pytest.fixture
def begin(running, tmp_path: Path):
    """Begin an execution that writes a half and waits; return the stack, the execution, its gate and its URL."""
    gate = tmp_path / "gate"

    def submit(**parameters: Any):
        execution = running.client.submit("writes_in_two_halves", gate=str(gate), **parameters)
        return running, execution, gate, f"/v1/infer/writes_in_two_halves/{execution.id}"

    return submit


def _partial(http: httpx.Client, path: str) -> dict[str, Any] | None:
    answer = http.get(f"{path}/results", params={"partial": "true"})
    assert answer.status_code in (200, 202), answer.text
    return answer.json() if answer.status_code == 200 else None


def _shows_first_half(http: httpx.Client, path: str) -> dict[str, Any] | None:
    found = _partial(http, path)
    names = [file["path"] for file in found["output_files"]] if found else []
    return (
        found if any(name.endswith("t/0") for name in names) and any(".zmetadata" in name for name in names) else None
    )


def test_partial_results_are_read_while_it_runs(begin, tmp_path: Path):
    """The half that is there, by a signed URL; the whole result then lies at the same prefix."""
    running, execution, gate, path = begin()
    found = _until(lambda: _shows_first_half(running.http, path))
    assert (found["partial"], found["status"]) == (True, "running")
    np.testing.assert_array_equal(_opened(found, tmp_path / "half"), [0, 1, 2])

    gate.touch()
    result = execution.wait(timeout=SECONDS, progress=False)

    whole = running.http.get(f"{path}/results").json()
    assert (whole["partial"], whole["remote_path"]) == (False, found["remote_path"])
    np.testing.assert_array_equal(_opened(whole, tmp_path / "whole"), [0, 1, 2, 3, 4, 5])
    assert not any(".wildcast/" in file.path for file in result.files)


def test_what_was_read_is_never_rewritten(begin, tmp_path: Path):
    """A workflow that changes what was shown has its result elsewhere, and nothing stays where it was shown."""
    running, execution, gate, path = begin(rewrite=True)
    found = _until(lambda: _shows_first_half(running.http, path))
    gate.touch()
    execution.wait(timeout=SECONDS, progress=False)

    whole = running.http.get(f"{path}/results").json()
    assert whole["remote_path"] == f"{found['remote_path']}-2"
    np.testing.assert_array_equal(_opened(whole, tmp_path / "whole"), [100, 101, 102, 3, 4, 5])
    base, _, query = found["signed_url"].partition("*?")
    answers = {
        httpx.get(f"{base}{file['path'].split('/', 1)[1]}?{query}").status_code for file in found["output_files"]
    }
    assert answers == {404}


def test_events_tell_all_from_the_submission_to_the_end(begin):
    """In the order in which it happens, over one connection."""
    running, _execution, gate, path = begin()
    events: list[tuple[str, dict[str, Any]]] = []
    name = ""
    with running.http.stream("GET", f"{path}/events", timeout=SECONDS) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
                # Whether it is told by itself, or with the status, depends on who was first.
                if name == "progress" or events[-1][1].get("progress"):
                    gate.touch()
    names = [name for name, _ in events]
    statuses = [told["status"] for name, told in events if name == "status"]

    assert (names[0], names[-2:]) == ("status", ["status", "end"])
    assert set(names) <= {"status", "progress", "upload", "end"}
    # What passes within a tick is not told by itself.
    assert [each for each in ("queued", "running", "pending_results", "completed") if each in statuses] == list(
        dict.fromkeys(statuses)
    )
    assert {"running", "completed"} <= set(statuses)
    assert events[-1][1] == {"status": "completed", "error_message": None}


def test_a_long_poll_follows_an_execution_to_its_end(begin):
    """Each answer is news, and there are far fewer of them than of polls every second."""
    running, _execution, gate, path = begin()
    gate.touch()
    etag, statuses, asked = "", [], 0
    while not statuses or statuses[-1] not in ("completed", "failed"):
        headers = {"If-None-Match": etag} if etag else {}
        answer = running.http.get(f"{path}/status", params={"wait": 20}, headers=headers, timeout=30)
        asked += 1
        assert answer.status_code == 200
        assert answer.headers["etag"] != etag
        etag = answer.headers["etag"]
        statuses.append(answer.json()["status"])

    assert statuses[-1] == "completed"
    assert asked < 20
