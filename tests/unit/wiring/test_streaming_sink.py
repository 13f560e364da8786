"""What the service tells the runner's process of the store."""

import msgspec
import pytest

from wildcast_server.errors import WorkflowFailedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.sinks import sink_of
from wildcast_server.publish.scan import scan
from wildcast_server.settings import load_settings
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.mark import StreamMark, read_mark
from wildcast_server.wiring.publishing import live_requests
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
    """Parts of the configured size, and, with live publishing, no more requests than are allowed."""
    settings = settings_of(
        bucket="bucket",
        multipart_chunksize=6 << 20,
        max_concurrency=5,
        endpoint_url="http://127.0.0.1:9",
        region="eu-west-1",
    )
    sink = sink_of(sent(streaming_sink(settings, "p", tmp_path / "ledger")), tmp_path)._sink()
    assert (sink._streamed.part_size, sink._streamed.slots) == (6 << 20, 3)
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


@pytest.mark.parametrize(("configured", "live", "streaming"), [(1, 0, 1), (2, 1, 1), (7, 3, 4), (500, 32, 468)])
def test_live_publishing_and_streaming_share_the_bound(settings_of, tmp_path, configured, live, streaming):
    """They run at the same time, in two processes, and a number of requests is a bound on both together."""
    settings = settings_of(store=(tmp_path / "objects").as_uri(), max_concurrency=configured)
    assert live_requests(settings.object_storage) == live
    assert streaming_sink(settings, "p", tmp_path / "ledger").arguments["slots"] == streaming
