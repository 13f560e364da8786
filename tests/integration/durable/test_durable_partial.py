"""Partial results of executions whose workers die, drain or are told to cancel, on both databases."""

import signal

import pytest
from tests.integration.durable.conftest import kill, until

from wildcast.contract.naming import MANIFEST_PATH, PARTIAL_PATH
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.publish.partial import read_partial
from wildcast_server.store import open_store

pytestmark = pytest.mark.long

FILES = {"0.txt", "1.txt", "2.txt"}


@pytest.fixture
def shown(site):
    """Submit an execution, begin a worker, ask for partial results, and wait for them."""

    def run(seconds):
        execution_id = site.submit("computes", seconds=seconds, files=3)
        worker = site.start()
        site.started(execution_id)
        site.records.mark(execution_id, expected=Status.RUNNING, partial=True)
        until(lambda: paths(site, execution_id) == FILES, "partial results")
        return execution_id, worker

    return run


def paths(site, name):
    """What is shown at a place."""
    found = read_partial(open_store((site.root / "store").as_uri()), f"outputs/{name}")
    return {row.path for row in found.rows} if found is not None else set()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_what_was_shown_is_not_written_again(site, shown, how):
    """The computation is begun again, its output goes beside that, and nothing is left where it was before."""
    execution_id, worker = shown(seconds=5)
    if how == signal.SIGKILL:
        kill(worker)
    else:
        worker.terminate()
        worker.wait(60)
    site.start()
    site.started(execution_id, 2)
    until(lambda: not paths(site, execution_id), "what was shown being taken back")
    ended = site.ended(execution_id)

    assert ended.status is Status.COMPLETED
    assert ended.attempt == (2 if how == signal.SIGKILL else 1)
    assert ended.published.publication.prefix == f"outputs/{execution_id}-2"
    assert site.objects(execution_id) == {f"{execution_id}-2/{path}" for path in (*FILES, MANIFEST_PATH)}


@pytest.mark.long
def test_a_worker_killed_between_the_steps_publishes_what_was_shown(site):
    """At the same prefix: nothing has changed."""
    execution_id = site.submit("computes", seconds=8, files=3)
    worker = site.start("handed.over")
    site.started(execution_id)
    site.records.mark(execution_id, expected=Status.RUNNING, partial=True)
    until(lambda: paths(site, execution_id) == FILES, "partial results")
    assert worker.wait(60) == -signal.SIGKILL
    site.start()
    ended = site.ended(execution_id)

    assert ended.published.publication.prefix == f"outputs/{execution_id}"
    assert site.objects(execution_id) == {f"{execution_id}/{path}" for path in (*FILES, MANIFEST_PATH)}


def test_nothing_of_a_cancelled_execution_is_left(site, shown):
    """Not even the sign that somebody has looked."""
    execution_id, _worker = shown(seconds=60)
    assert f"{execution_id}/{PARTIAL_PATH}" in site.objects(execution_id)
    site.records.mark(execution_id, expected=Status.RUNNING, cancel=True)
    assert site.ended(execution_id).status is Status.CANCELLED
    until(lambda: not site.objects(execution_id), "an empty prefix")
