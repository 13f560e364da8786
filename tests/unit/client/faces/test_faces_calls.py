"""What both faces can ask of a server, and what they say when it cannot."""

import inspect
import json
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from starlette.responses import JSONResponse

import wildcast
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import utc_now

THEN = datetime(2026, 1, 28, tzinfo=UTC)


def test_both_faces_have_the_same_methods():
    """A method or argument that one has, the other has; only closing and the context have other names."""
    renamed = {"close", "aclose", "__enter__", "__exit__", "__aenter__", "__aexit__"}
    for sync, other in ((wildcast.Client, wildcast.AsyncClient), (wildcast.Execution, wildcast.AsyncExecution)):
        public = [
            {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")} - renamed
            for kind in (sync, other)
        ]
        assert public[0] == public[1]
        for name in public[0]:
            signatures = [inspect.signature(getattr(kind, name)) for kind in (sync, other)]
            assert str(signatures[0].parameters) == str(signatures[1].parameters), name


def test_what_there_is_can_be_asked_for(api, client):
    """Workflows, the schema of one, and how the server is."""
    assert client.workflows() == {"wf": "Make data."}
    assert client.schema("wf")["properties"]["n"]["default"] == 1
    assert client.health().is_healthy
    assert {seen.headers["authorization"] for seen in api.seen} == {"Bearer canary-token"}


def test_an_unhealthy_server_says_what_is_wrong(api, client):
    """It is an answer and no error; Earth2Studio's server puts it below `detail`."""
    for body in ({"status": "unhealthy", "error": "no records"}, {"detail": {"error": "no records"}}):
        api.meddle = lambda _, body=body: JSONResponse(body, 503)
        health = client.health()
        assert (health.is_healthy, health.error) == (False, "no records")


def test_an_unknown_workflow_says_what_to_do(client):
    """The sentence is the server's, and names the method that helps."""
    with pytest.raises(wildcast.UnknownWorkflowError, match=r"'nothing'.*Client\.workflows\(\)"):
        client.submit("nothing")
    with pytest.raises(wildcast.UnknownWorkflowError):
        list(client.executions("nothing"))
    with pytest.raises(wildcast.InvalidParametersError, match=r"Client\.schema"):
        client.submit("wf", n="many")


def test_names_of_dots_are_no_steps_in_a_path(client):
    """The server is asked for exactly what was named."""
    with pytest.raises(wildcast.UnknownWorkflowError, match=r"'\.\.'"):
        client.schema("..")
    with pytest.raises(wildcast.UnknownExecutionError, match=r"'\.\.'"):
        client.get("wf", "..")


def test_executions_come_a_page_at_a_time(api, client, monkeypatch):
    """The newest first, none twice, and no page is asked for before it is needed."""
    monkeypatch.setattr("wildcast._calls.PAGE", 3)
    names = [api.add(number, created_at=THEN + timedelta(seconds=number)) for number in range(8)]
    found = client.executions()
    assert next(found).id == names[-1]
    assert len(api.seen) == 1
    assert [each.id for each in found] == names[-2::-1]
    assert len(api.seen) == 3
    assert [each.id for each in client.executions(limit=4)] == names[:3:-1]
    assert api.seen[3].query == "limit=3"
    assert len(api.seen) == 5
    assert list(client.executions(limit=0)) == []


def test_listed_executions_know_their_status(api, client):
    """What the list said is known without another question."""
    api.run(api.add(1))
    [execution] = client.executions()
    assert execution.last_status.status is Status.RUNNING
    assert "status='running'" in repr(execution)
    assert len(api.seen) == 1


def test_filters_narrow_the_list(api, client):
    """By workflow, status, labels and time, each alone; a time without a zone is UTC."""
    names = [
        api.add(number, created_at=THEN + timedelta(hours=number), labels={"run": "ab"[number % 2]})
        for number in range(4)
    ]
    api.run(names[1])
    found = {
        "status": client.executions(status="running"),
        "statuses": client.executions(status=[Status.RUNNING, "failed"]),
        "labels": client.executions("wf", labels={"run": "a"}),
        "since": client.executions(since=datetime(2026, 1, 28, 2)),  # noqa: DTZ001 - to be taken as UTC
        "until": client.executions(until="2026-01-28T02:00:00+01:00"),
        "numpy": client.executions(since=np.datetime64("2026-01-28T03")),
    }
    assert {name: [each.id for each in values] for name, values in found.items()} == {
        "status": [names[1]],
        "statuses": [names[1]],
        "labels": [names[2], names[0]],
        "since": [names[3], names[2]],
        "until": [names[0]],
        "numpy": [names[3]],
    }


@pytest.mark.parametrize("wrong", [{"status": "done"}, {"since": "yesterday"}, {"until": 3}], ids=str)
def test_filters_that_are_none_are_refused(client, wrong):
    """At once, and by their name."""
    with pytest.raises(ValueError, match=next(iter(wrong.values())) if "status" in wrong else next(iter(wrong))):
        client.executions(**wrong)


def test_an_execution_is_found_by_its_id_alone(api, client):
    """Or with its workflow, in either order of trust."""
    name = api.add(1)
    for found in (client.get(name), client.get("wf", name), client.get(execution_id=name)):
        assert (found.workflow, found.id, found.last_status.status) == ("wf", name, Status.QUEUED)
    for wrong in ((name[:-1] + "7",), ("wf", name[:-1] + "7"), ("other", name)):
        with pytest.raises(wildcast.UnknownExecutionError, match=r"executions\(\)"):
            client.get(*wrong)
    with pytest.raises(TypeError, match="Name an execution"):
        client.get()


def test_a_server_that_finds_nothing_by_id_wants_the_workflow(api, client, earth2):
    """Earth2Studio's has no lists; one that ignores the filter must not be believed."""
    name = api.add(1)
    api.meddle = earth2
    with pytest.raises(wildcast.UnsupportedError, match=r"get\(workflow, 'exec_1_00000001'\)"):
        client.get(name)
    assert client.get("wf", name).id == name
    other = {
        "executions": [json.loads(_status_body(api, name)) | {"execution_id": "exec_9_00000009"}],
        "next_cursor": None,
    }
    api.meddle = lambda request: JSONResponse(other) if request.url.path == "/v1/infer" else None
    with pytest.raises(wildcast.UnsupportedError, match=r"get\(workflow"):
        client.get(name)


def _status_body(api, name):
    return httpx.get(f"{api.url}/v1/infer/wf/{name}/status").text


def test_actions_act_and_tell_the_status(api, client):
    """Cancel, retry, pin and delete; what does not fit is a conflict in the server's words."""
    queued, failed, done = (client.get(api.add(number)) for number in range(3))
    for name in (failed.id, done.id):
        api.run(name)
    api.fail(failed.id)
    api.publish(done.id)
    api.complete(done.id)
    assert queued.cancel().status is Status.CANCELLED
    assert failed.retry().status is Status.QUEUED
    assert failed.last_status.status is Status.QUEUED
    assert done.pin().metadata["pinned"] is True
    assert done.pin(pinned=False).metadata["pinned"] is False
    with pytest.raises(wildcast.ConflictError, match="only one that failed") as caught:
        done.retry()
    assert caught.value.status == 409
    with pytest.raises(wildcast.ConflictError, match="cancel it first"):
        failed.delete()
    queued.delete()
    with pytest.raises(wildcast.UnknownExecutionError):
        queued.status()


def test_the_client_acts_by_name(api, client):
    """By an id alone it looks for the workflow first; with the workflow it asks nothing before."""
    queued, failed, done = (api.add(number) for number in range(3))
    for name in (failed, done):
        api.run(name)
    api.fail(failed)
    api.publish(done)
    api.complete(done)
    assert client.cancel(queued).status is Status.CANCELLED
    assert client.retry("wf", failed).status is Status.QUEUED
    assert client.pin(done).metadata["pinned"] is True
    assert client.pin(execution_id=done, pinned=False).metadata["pinned"] is False
    assert [seen.last for seen in api.seen] == ["infer", "cancel", "retry", "infer", "pin", "infer", "pin"]
    with pytest.raises(wildcast.ConflictError, match="cancel it first"):
        client.delete(failed)
    client.delete(done)
    client.delete("wf", done)
    for act in (client.delete, client.cancel, client.retry, client.pin):
        with pytest.raises(wildcast.UnknownExecutionError, match=r"executions\(\)"):
            act(done)
        with pytest.raises(wildcast.UnknownExecutionError, match="no execution's id"):
            act("a b")
        with pytest.raises(TypeError, match="Name an execution"):
            act()


def test_what_a_webhook_was_told_can_be_asked_for(api, client):
    """How often it was tried, and what was answered; nothing before the end."""
    execution = client.get(api.add(1, webhook="https://hooks.example/?token=canary"))
    assert execution.deliveries() == ()
    assert execution.cancel().status is Status.CANCELLED
    (due,) = api.records.due_deliveries(utc_now(), lease_seconds=60, limit=5)
    api.records.delivery_failed(due.id, "it answered 500", status=500, next_try_at=utc_now())
    (told,) = execution.deliveries()
    assert (told.event, told.tries, told.last_status, told.delivered_at) == ("cancelled", 1, 500, None)
    assert "canary" not in repr(told)


def test_what_earth2studios_server_lacks_is_named(api, client, earth2):
    """And is not taken for an unknown execution."""
    execution = client.get("wf", api.add(1))
    api.meddle = earth2
    calls = (execution.cancel, execution.retry, execution.pin, execution.delete, execution.deliveries)
    for act in (*calls, lambda: list(client.executions()), lambda: client.cancel("wf", execution.id)):
        with pytest.raises(wildcast.UnsupportedError, match="Earth2Studio") as caught:
            act()
        assert not isinstance(caught.value, LookupError)


def test_an_execution_can_be_sent_to_another_process(api, client, sent):
    """With what is known of it, and without the token."""
    execution = sent(client.get("wf", api.add(1)))
    assert execution.last_status.status is Status.QUEUED
    assert execution.cancel().status is Status.CANCELLED


def test_a_client_can_be_sent_to_another_process(api, client, sent):
    """It calls the same server."""
    assert sent(client).get("wf", api.add(1)).last_status.status is Status.QUEUED


def test_progress_is_what_the_workflow_reports(api, client):
    """None before it does, then its own fields too."""
    execution = client.get(api.add(1))
    assert execution.progress() is None
    api.run(execution.id)
    api.report(execution.id, current_step=1, total_steps=3, variable="t2m")
    assert execution.progress() == {"progress": None, "current_step": 1, "total_steps": 3, "variable": "t2m"}


def test_results_are_told_from_what_is_not_there_yet(api, client):
    """Pending while it runs, a result when it is done, the reason when it failed."""
    execution, failed = client.get(api.add(1)), client.get(api.add(2))
    for name in (execution.id, failed.id):
        api.run(name)
    for read in (execution.result, execution.partial_result):
        with pytest.raises(wildcast.ResultsPendingError, match="running"):
            read()
    api.fail(failed.id)
    with pytest.raises(wildcast.ExecutionFailedError, match="no such variable"):
        failed.result()
    api.publish(execution.id)
    api.complete(execution.id)
    for read in (execution.result, execution.partial_result):
        assert read().fs.cat("a.txt") == b"text"


def test_members_that_a_server_leaves_out_are_null(api, client):
    """As Earth2Studio's does with what it does not know."""
    name = api.add(1)
    body = {"workflow_name": "wf", "execution_id": name, "status": "running"}
    api.meddle = lambda request: JSONResponse(body) if request.url.path.endswith("status") else None
    status = client.get("wf", name).last_status
    assert (status.status, status.progress, status.start_time) == (Status.RUNNING, None, None)
    body.pop("execution_id")
    with pytest.raises(wildcast.UnexpectedAnswerError):
        client.get("wf", name)


def test_results_of_earth2studios_server_are_read(api, client):
    """With what its metadata have: times without a zone, and nothing of ours; a null in vain is still refused."""
    name = api.add(1)
    status = {
        "workflow_name": "wf",
        "execution_id": name,
        "status": "completed",
        "position": None,
        "progress": {"progress": "done", "current_step": 2, "total_steps": 2},
        "start_time": "2026-01-28T00:38:48.123456",
        "end_time": "2026-01-28T00:39:00+00:00",
        "metadata": {"parameters": {}},
    }
    results = {
        "request_id": name,
        "status": "pending_results",
        "completion_time": "2026-01-28T00:39:00",
        "execution_time_seconds": 12.3,
        "output_files": [{"path": f"{name}/a.txt", "size": 4}],
    }
    answers = {"status": status, "results": results}
    api.meddle = lambda request: (
        JSONResponse(answers[request.url.path.rpartition("/")[2]])
        if request.url.path.endswith(("/status", "/results"))
        else None
    )
    result = client.get("wf", name).wait(timeout=60)
    assert result.paths == ("a.txt",)
    assert (result.metadata.storage_type, result.metadata.signed_url) == ("server", None)
    results["output_files"] = None
    with pytest.raises(wildcast.UnexpectedAnswerError):
        client.get("wf", name).result()


def test_results_that_earth2studio_says_are_pending_are(api, client):
    """Its 202 is below `detail`."""
    api.meddle = lambda request: (
        JSONResponse({"detail": {"status": "running", "message": "wait"}}, 202)
        if request.url.path.endswith("results")
        else None
    )
    with pytest.raises(wildcast.ResultsPendingError, match="is running"):
        client.get(api.add(1)).result()
