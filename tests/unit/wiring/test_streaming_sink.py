"""What the service tells the runner's process of the store."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from wildcast_server.errors import WorkflowFailedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.sinks import sink_of
from wildcast_server.publish.clearing import remove_publication
from wildcast_server.publish.scan import scan
from wildcast_server.settings import load_settings
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.mark import StreamMark, read_mark
from wildcast_server.wiring.publishing import (
    build_publisher,
    build_store,
    build_transfer,
    deletion_budget,
    live_requests,
)
from wildcast_server.wiring.streaming import streaming_sink


@pytest.fixture
def settings_of(tmp_path):
    """Load settings for a store."""

    def load(**storage):
        values = {f"object_storage.{name}": value for name, value in storage.items()}
        given = {"data_dir": tmp_path / "data", "object_storage.enabled": True, **values}
        return load_settings(given, environ={}, cwd=tmp_path).settings

    return load


def sent(spec):
    """Return the spec as it arrives at the other end of the socket."""
    run = protocol.Run(run=1, execution_id="e", workflow="w", parameters={}, output_directory="/o", sink=spec)
    return msgspec.json.decode(protocol.encode(run), type=protocol.Run).sink


def test_what_is_streamed_lands_below_the_publications_prefix(settings_of, tmp_path):
    """Through the store of the settings, and into the ledger that the publisher reads."""
    settings = settings_of(store=(tmp_path / "objects").as_uri())
    spec = sent(streaming_sink(settings, "outputs/exec_1", tmp_path / "led" / "ger"))
    sink = sink_of(spec, tmp_path)
    with sink.open("a/b") as file:
        file.write(b"x")
    sink.finish()
    assert (tmp_path / "objects/outputs/exec_1/a/b").read_bytes() == b"x"
    assert list(read_ledger(tmp_path / "led" / "ger")) == ["a/b"]


def test_the_output_directory_says_what_was_streamed(settings_of, tmp_path):
    """From before the first byte; all of it once the run has ended, so that nothing is published without it."""
    settings, output = settings_of(store=(tmp_path / "objects").as_uri()), tmp_path / "output"
    sink = sink_of(streaming_sink(settings, "p", tmp_path / "ledger"), output)
    file = sink.open("a")
    assert read_mark(output) == StreamMark("p")
    with file:
        file.write(b"x")
    sink.finish()
    assert read_mark(output).is_of(read_ledger(tmp_path / "ledger"))
    assert scan(output, may_be_empty=True) == []


def test_a_ledger_that_is_lost_while_the_workflow_streams_fails_it(settings_of, tmp_path):
    """Without it, nobody could tell what belongs to the output."""
    settings = settings_of(store=(tmp_path / "objects").as_uri())
    sink = sink_of(streaming_sink(settings, "p", tmp_path / "ledger"), tmp_path / "output")
    with sink.open("a") as file:
        file.write(b"x")
    (tmp_path / "ledger").unlink()
    with pytest.raises(WorkflowFailedError, match="run it again"):
        sink.finish()


def test_the_settings_of_the_transfer_hold(settings_of, tmp_path):
    """Parts of the configured size, and no more requests than are left beside the worker's own."""
    settings = settings_of(
        bucket="bucket",
        multipart_chunksize=6 << 20,
        max_concurrency=5,
        endpoint_url="http://127.0.0.1:9",
        region="eu-west-1",
    )
    sink = sink_of(sent(streaming_sink(settings, "p", tmp_path / "ledger")), tmp_path)._sink()
    assert (sink._streamed.part_size, sink._streamed.slots) == (6 << 20, 2)
    assert sink._streamed.store.uri == "s3://bucket"
    sink.finish()


def test_a_store_of_one_process_cannot_be_streamed_to(settings_of, tmp_path):
    """The runner's process would open another one; so output goes to the disk."""
    assert streaming_sink(settings_of(store="memory://"), "p", tmp_path / "ledger") is None


def test_credentials_show_nowhere(settings_of, tmp_path):
    """They travel in the arguments, and no text of the spec has them."""
    settings = settings_of(bucket="bucket", access_key_id="id", secret_access_key="canary-1", session_token="canary-2")
    spec = streaming_sink(settings, "p", tmp_path / "ledger")
    assert spec.arguments["options"]["secret_access_key"] == "canary-1"
    assert "canary" not in f"{spec!r} {spec!s} {sink_of(spec, tmp_path)!r}"


@pytest.mark.parametrize(
    ("configured", "own", "live", "streaming"), [(1, 1, 0, 0), (2, 1, 1, 1), (7, 4, 4, 3), (500, 250, 32, 250)]
)
def test_a_worker_and_its_workflow_share_the_bound(settings_of, tmp_path, configured, own, live, streaming):
    """They run at the same time, in two processes, and a number of requests is a bound on both together."""
    settings = settings_of(store=(tmp_path / "objects").as_uri(), max_concurrency=configured)
    transfer = build_transfer(settings, build_store(settings), runs_workflows=True)
    assert transfer.budget.limit == own
    assert live_requests(settings.object_storage) == live
    sink = streaming_sink(settings, "p", tmp_path / "ledger")
    assert (0 if sink is None else sink.arguments["slots"]) == streaming
    assert own + streaming == configured


def test_alone_a_publisher_has_all_of_it(settings_of, tmp_path):
    """Where no workflow runs beside it."""
    settings = settings_of(store=(tmp_path / "objects").as_uri(), max_concurrency=7)
    assert build_transfer(settings, build_store(settings)).budget.limit == 7


class Counting:
    """Counts the calls of a store's methods that are under way."""

    def __init__(self, store) -> None:
        self.now = self.most = 0
        self.kinds = set()
        self._lock = threading.Lock()
        store.__class__ = type("Watched", (type(store),), {"begins_puts": False})
        for name in ("put", "delete"):
            setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name, call):
        def counted(key: str, *rest: object):
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
                self.kinds.add((name, threading.current_thread().name == "transfer"))
            try:
                time.sleep(0.002)
                return call(key, *rest)
            finally:
                with self._lock:
                    self.now -= 1

        return counted


def test_all_that_a_worker_does_at_a_time_stays_within_its_bound(settings_of, tmp_path):
    """A publication, what another execution uploads live, and a removal, side by side."""
    settings = settings_of(store="memory://", max_concurrency=6)
    store = build_store(settings)
    transfer = build_transfer(settings, store, runs_workflows=True)
    publisher = build_publisher(settings, store, transfer)
    removals = deletion_budget(settings.object_storage, transfer)
    for number in range(60):
        store.put(f"outputs/old/{number}", b"x")
        (tmp_path / f"output/{number}").parent.mkdir(exist_ok=True)
        (tmp_path / f"output/{number}").write_bytes(b"x")
    files, counting = scan(tmp_path / "output"), Counting(store)
    work = (
        lambda: transfer.upload(files, "outputs/a"),
        lambda: publisher._means.gentle.upload(files, "outputs/b"),
        lambda: remove_publication(store, "outputs/old", removals, committed=False),
    )
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(each) for each in work]:
            done.result()
    assert counting.kinds == {("put", True), ("delete", True)}
    assert counting.most == 3
