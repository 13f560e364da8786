"""What Prometheus is told of transfers."""

from threading import Thread

from prometheus_client.parser import text_string_to_metric_families

from wildcast_server.metrics import Metrics, TransferState
from wildcast_server.transfer.files import TransferProgress

MIB = 1 << 20


def _samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        sample.name.removeprefix("wildcast_transfer_"): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("wildcast_transfer_") and not sample.name.endswith("_created")
    }


def _progress(files: int, done: int, skipped: int = 0) -> TransferProgress:
    return TransferProgress(files, 10, done, 100 * MIB, skipped, 1.0)


def test_what_is_new_is_counted():
    """Each look at a transfer adds what came since the last one: bytes sent, bytes skipped, files."""
    metrics = Metrics()
    count = metrics.transfer_observer()
    for progress in (_progress(1, 3 * MIB, MIB), _progress(1, 3 * MIB, MIB), _progress(4, 9 * MIB, 2 * MIB)):
        count(progress)
    assert _samples(metrics) == {"files_total": 4, "sent_bytes_total": 7 * MIB, "skipped_bytes_total": 2 * MIB}


def test_transfers_add_up():
    """Each transfer counts from nothing on, and all of them are one service's."""
    metrics = Metrics()
    for _ in range(3):
        metrics.transfer_observer()(_progress(2, MIB))
    assert _samples(metrics) == {"files_total": 6, "sent_bytes_total": 3 * MIB, "skipped_bytes_total": 0}


def test_bytes_that_are_sent_again_are_counted_once():
    """A multipart upload that begins anew takes its bytes back; a counter never goes back, nor counts them twice."""
    metrics = Metrics()
    count = metrics.transfer_observer()
    for done in (5 * MIB, 2 * MIB, 6 * MIB):
        count(_progress(0, done))
    assert _samples(metrics)["sent_bytes_total"] == 6 * MIB


def test_threads_may_count_together():
    """Whichever of a transfer's threads tells, nothing is lost."""
    metrics = Metrics()
    threads = [Thread(target=metrics.transfer_observer(), args=(_progress(1, MIB),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert _samples(metrics)["files_total"] == 16


def test_the_state_is_that_of_the_look():
    """Requests in flight, their bound, the store's wishes for fewer, and retries are read when somebody looks."""
    metrics = Metrics()
    states = [TransferState(64, 12, 0), TransferState(32, 32, 3, retries=5)]
    metrics.watch_transfer(lambda: states.pop(0))
    wanted = ("requests_limit", "requests", "slow_downs_total", "retries_total")
    looks = [[samples[name] for name in wanted] for samples in (_samples(metrics), _samples(metrics))]
    assert looks == [[64, 12, 0, 0], [32, 32, 3, 5]]


def test_a_service_that_transfers_nothing_shows_no_state():
    """Without a transfer to look at there are no gauges that would show 0."""
    assert set(_samples(Metrics())) == {"files_total", "sent_bytes_total", "skipped_bytes_total"}
