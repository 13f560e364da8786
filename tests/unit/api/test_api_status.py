"""Asking where an execution stands, and whether it stands elsewhere by now."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution

ID = "exec_1_00000001"
STATUS = f"/v1/infer/results/{ID}/status"


@pytest.fixture
def queued(records):
    """An execution that waits behind another one."""
    records.insert(Execution(id="exec_1_00000000", workflow_name="results", parameters={}))
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))


@pytest.mark.usefixtures("queued")
def test_an_answer_has_a_version(api, records):
    """It is another one after every change, and the same while there is none."""
    seen = [api.get(STATUS).headers["etag"] for _ in range(2)]
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    seen.append(api.get(STATUS).headers["etag"])
    records.set_progress(ID, 1, {"current_step": 1})
    seen.append(api.get(STATUS).headers["etag"])

    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert all(etag.startswith('W/"v') for etag in seen)


@pytest.mark.usefixtures("queued")
def test_to_move_up_in_the_queue_is_another_version(api, records):
    """Of the answer, although nothing of the execution itself has changed."""
    before = api.get(STATUS)
    records.change("exec_1_00000000", expected=Status.QUEUED, to=Status.RUNNING)
    after = api.get(STATUS, headers={"If-None-Match": before.headers["etag"]})

    assert (before.json()["position"], after.json()["position"]) == (1, 0)


@pytest.mark.usefixtures("queued")
def test_who_has_the_version_gets_no_body(api, records):
    """But 304, with the version; and the whole answer as soon as there is another one."""
    etag = api.get(STATUS).headers["etag"]
    same = api.get(STATUS, headers={"If-None-Match": f'"other", {etag}'})
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    other = api.get(STATUS, headers={"If-None-Match": etag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert (other.status_code, other.json()["status"]) == (200, "running")


@pytest.mark.usefixtures("queued")
def test_nobody_keeps_an_answer(api):
    """It is true now, and not in a moment."""
    assert api.get(STATUS).headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("queued")
def test_head(api):
    """It has the version alone, and waits for nothing."""
    answer = api.head(STATUS, params={"wait": 30}, timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == api.get(STATUS).headers["etag"]
