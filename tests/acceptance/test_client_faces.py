"""Both faces of the client against the whole stack, from a submission to a deletion."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import wildcast
from wildcast import ExecutionStatus as Status
from wildcast.contract.manifest import decode_manifest

SECONDS = 60


def _checked(events: list[wildcast.Event]) -> set[type]:
    """Check the order in which an execution was told of; return the kinds of events."""
    statuses = [event.status for event in events if isinstance(event, wildcast.StatusEvent)]
    order = list(Status)
    assert all(order.index(before) <= order.index(after) for before, after in pairwise(statuses))
    assert statuses[-1] is Status.COMPLETED
    assert events[-1] == wildcast.EndEvent(status=Status.COMPLETED, error_message=None)
    return set(map(type, events))


def _let_go(gate: Path, event: wildcast.Event) -> None:
    # Whether progress is told by itself, or with the status, depends on which was first.
    if isinstance(event, wildcast.ProgressEvent) or (isinstance(event, wildcast.StatusEvent) and event.answer.progress):
        gate.touch()


def test_an_execution_is_watched_from_its_submission_to_its_deletion(running, tmp_path):
    """Submitted with everything, found again by its id, told of, read, kept, and deleted."""
    gate, client = tmp_path / "gate", running.client
    execution = client.submit(
        "waits_for_a_file",
        path=str(gate),
        idempotency_key=str(tmp_path),
        labels={"test": tmp_path.name},
        retention=timedelta(days=2),
    )
    events = []
    for event in execution.events():
        events.append(event)
        _let_go(gate, event)
    assert _checked(events) >= {wildcast.StatusEvent, wildcast.EndEvent}

    [found] = client.executions(labels={"test": tmp_path.name}, status="completed")
    assert found.id == client.get(execution.id).id == execution.id
    assert found.workflow == "waits_for_a_file"
    assert found.wait(timeout=0, progress=False).fs.cat("a.txt") == b"waited"
    assert found.last_status.metadata["retention_seconds"] == 2 * 86_400
    assert tmp_path.name in found._repr_html_()

    assert found.pin().metadata["pinned"] is True
    with pytest.raises(wildcast.ConflictError):
        found.cancel()
    found.delete()
    with pytest.raises(wildcast.UnknownExecutionError):
        client.get(execution.id)


def test_a_cancelled_execution_ends_its_wait(running, tmp_path):
    """It is told within seconds, and as what it is."""
    execution = running.client.submit("waits_for_a_file", path=str(tmp_path / "never"))
    events = execution.events()
    while next(events).status is not Status.RUNNING:
        pass
    execution.cancel()
    with pytest.raises(wildcast.ExecutionCancelledError):
        execution.wait(timeout=SECONDS, progress=False)
    assert [type(event) for event in events][-1] is wildcast.EndEvent


async def _in_one_loop(url: str, gate: Path) -> tuple[list[wildcast.Event], bytes, list[str]]:
    async with wildcast.AsyncClient(url) as client:
        execution = await client.submit("waits_for_a_file", path=str(gate), labels={"test": gate.parent.name})
        waiting = asyncio.create_task(execution.wait(progress=False))
        events = []
        async for event in execution.events():
            events.append(event)
            _let_go(gate, event)
        result = await waiting
        listed = [each.id async for each in client.executions("waits_for_a_file", labels={"test": gate.parent.name})]
        assert listed == [execution.id]
        assert (await client.get(execution.id)).last_status.status is Status.COMPLETED
        return events, await asyncio.to_thread(result.fs.cat, "a.txt"), list(await client.workflows())


def test_one_loop_waits_and_listens(running, tmp_path):
    """The face that is awaited does the same, with several things under way at once."""
    events, body, workflows = asyncio.run(_in_one_loop(running.stack.api_url, tmp_path / "gate"))
    _checked(events)
    assert body == b"waited"
    assert "waits_for_a_file" in workflows


def test_a_result_is_signed_and_its_manifest_read(running):
    """What results are made of, as the client asks for it."""
    execution = running.client.submit("writes_text", text="signed")
    execution.wait(timeout=SECONDS, progress=False)
    api = running.client._api
    link = api.sign(execution.workflow, execution.id, path="0.txt", expires_in=timedelta(minutes=5))
    assert running.http.get(link.url).text == "signed"
    cookies = api.sign(execution.workflow, execution.id, kind="cookies")
    assert set(cookies.cookies) >= {"CloudFront-Signature", "CloudFront-Key-Pair-Id"}
    manifest = decode_manifest(api.manifest(execution.workflow, execution.id))
    assert [(row.path, row.size) for row in manifest.rows] == [("0.txt", 6)]
