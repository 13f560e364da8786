"""Cancelling, retrying, pinning and deleting over HTTP."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.publish import publish_in_place
from wildcast_server.usecases.outcome import as_record

ID = "exec_1_00000001"
URL = f"/v1/infer/results/{ID}"
STATUSES = [status for status in Status if status is not Status.ACCEPTED]


@pytest.fixture
def bring_to(records, tmp_path):
    """Record an execution in a status, on the way that executions take."""

    def complete(name):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "a.txt").write_text("text")
        records.change(
            name,
            expected=Status.PENDING_RESULTS,
            to=Status.COMPLETED,
            ended_at=utc_now(),
            published=as_record(publish_in_place(directory, name), 1),
        )

    def bring(status, name=ID):
        records.insert(Execution(id=name, workflow_name="results", parameters={}, jobs=1))
        if status in {Status.QUEUED, Status.CANCELLED}:
            if status is Status.CANCELLED:
                records.change(name, expected=Status.QUEUED, to=status, ended_at=utc_now())
            return
        records.begin_attempt(
            name, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
        )
        if status is Status.RUNNING:
            return
        if status is Status.FAILED:
            records.change(name, expected=Status.RUNNING, to=status, ended_at=utc_now(), failed_step="compute")
            return
        records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
        if status in {Status.COMPLETED, Status.EXPIRED}:
            complete(name)
        if status is Status.EXPIRED:
            records.change(name, expected=Status.COMPLETED, to=status)

    return bring


def act(api, action, name=ID):
    url = f"/v1/infer/results/{name}"
    match action:
        case "delete":
            return api.delete(url)
        case "unpin":
            return api.post(f"{url}/pin", json={"pinned": False})
        case _:
            return api.post(f"{url}/{action}")


# By status: the answers to cancel, retry, pin, unpin and delete, and the status that each leaves.
TABLE = {
    Status.QUEUED: [(200, Status.CANCELLED), (200, Status.QUEUED), (200, None), (200, None), (409, None)],
    Status.RUNNING: [(200, Status.RUNNING), (200, Status.RUNNING), (200, None), (200, None), (409, None)],
    Status.PENDING_RESULTS: [(200, None), (200, None), (200, None), (200, None), (409, None)],
    Status.COMPLETED: [(409, None), (409, None), (200, None), (200, None), (204, None)],
    Status.FAILED: [(409, None), (200, Status.QUEUED), (200, None), (200, None), (204, None)],
    Status.CANCELLED: [(200, None), (409, None), (200, None), (200, None), (204, None)],
    Status.EXPIRED: [(409, None), (409, None), (409, None), (409, None), (204, None)],
}
ACTIONS = ("cancel", "retry", "pin", "unpin", "delete")


def test_the_table_has_every_status():
    """A status or an action that is added has to be decided on."""
    assert TABLE.keys() == set(STATUSES)
    assert {len(row) for row in TABLE.values()} == {len(ACTIONS)}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_in_every_status(api, records, bring_to, action):
    """It is done or refused as the table says, twice the same, and leaves the status that it should."""
    for number, (status, row) in enumerate(TABLE.items()):
        name, (code, after) = f"exec_2_{number:08x}", row[ACTIONS.index(action)]
        bring_to(status, name)
        for answer in (act(api, action, name), act(api, action, name)):
            assert answer.status_code == code, (status, answer.text)
            if code == 409:
                assert status in answer.json()["error"]
            if code == 200:
                assert answer.json()["status"] == (after or status)
        assert records.get(name, deleted=True).status is (after or status)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_on_what_is_not_there_is_404(api, bring_to, action):
    """Of another workflow it is as unknown as one that does not exist."""
    assert act(api, action).status_code == 404
    bring_to(Status.COMPLETED)
    other = URL.replace("/results/", "/other/")
    method, path = ("DELETE", other) if action == "delete" else ("POST", f"{other}/{action.removeprefix('un')}")
    answer = api.request(method, path)
    assert answer.status_code == 404
    assert ID in answer.json()["error"]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_id_that_is_none_asks_no_database(api, records, action):
    """It may be no text that every database takes."""
    records.error = RuntimeError("asked")
    url = "/v1/infer/results/exec%00"
    method, path = ("DELETE", url) if action == "delete" else ("POST", f"{url}/{action.removeprefix('un')}")
    assert api.request(method, path).status_code == 404


def test_a_queued_execution_is_cancelled_at_once(api, jobs):
    """Its job is taken back, and those behind it move up."""
    first, second = (api.post("/v1/infer/results", json={}).json()["execution_id"] for _ in range(2))
    answer = api.post(f"/v1/infer/results/{first}/cancel").json()
    assert (answer["status"], answer["position"]) == ("cancelled", None)
    assert answer["end_time"] is not None
    assert [job.execution_id for job in jobs.waiting] == [second]
    assert api.get(f"/v1/infer/results/{second}/status").json()["position"] == 0


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING_RESULTS])
def test_what_a_worker_has_is_cancelled_by_it(api, records, bring_to, status):
    """The request is noted, and its time stays that of the first one."""
    bring_to(status)
    first = act(api, "cancel").json()["metadata"]["cancel_requested_at"]
    assert first is not None
    assert act(api, "cancel").json()["metadata"]["cancel_requested_at"] == first
    assert records.get(ID).cancel_requested_at is not None


def test_a_job_that_cannot_be_taken_back_is_cancelled_all_the_same(api, jobs):
    """The record decides: whoever takes the job finds nothing to do."""

    def away(_job_ids):
        raise ServiceUnavailableError("the database cannot be used now")

    name = api.post("/v1/infer/results", json={}).json()["execution_id"]
    jobs.withdraw = away
    answer = api.post(f"/v1/infer/results/{name}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_deleted_execution_is_unknown_everywhere(api, bring_to):
    """Every route answers 404, but DELETE itself."""
    bring_to(Status.COMPLETED)
    assert api.get(f"{URL}/results").status_code == 200
    assert api.delete(URL).status_code == 204
    for path in ("status", "results", "results/a.txt", "archive", "manifest", "events"):
        assert api.get(f"{URL}/{path}").status_code == 404, path
    for path in ("cancel", "retry", "pin", "sign"):
        assert api.post(f"{URL}/{path}", json={} if path == "sign" else None).status_code == 404, path
    assert api.get("/v1/infer/results").json()["executions"] == []
    assert api.delete(URL).status_code == 204


def test_what_was_published_is_noted_for_removal_with_the_deletion(api, records, bring_to):
    """Both or neither: the removal is in the records when the answer comes."""
    bring_to(Status.COMPLETED)
    api.delete(URL)
    due = records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10)
    assert [(each.execution_id, each.name, each.reason) for each in due] == [(ID, ID, "deleted")]


def test_a_pinned_result_says_so(api, bring_to):
    """In the status and in the metadata of the result."""
    bring_to(Status.COMPLETED)
    for pinned, action in ((True, "pin"), (False, "unpin")):
        assert act(api, action).json()["metadata"]["pinned"] is pinned
        assert api.get(f"{URL}/results").json()["pinned"] is pinned


@pytest.mark.parametrize("body", [{"pinned": "yes"}, {"pin": True}, [1]])
def test_a_pin_that_is_none_is_refused(api, bring_to, body):
    """The sentence names the field, and what the body is for."""
    bring_to(Status.COMPLETED)
    answer = api.post(f"{URL}/pin", json=body)
    assert answer.status_code == 422
    assert "not what pin takes" in answer.json()["error"]


def test_other_methods_are_refused_with_those_that_there_are(api):
    """`Allow` has DELETE where there is one."""
    answer = api.put(URL)
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE")
    assert api.get(f"{URL}/cancel").headers["allow"] == "POST"
