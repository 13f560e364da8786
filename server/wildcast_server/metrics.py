"""What the parts of the service report of their work: an observer that is handed in.

Every service has a `Metrics` of its own, with a registry of its own; nothing is global. Labels are route templates,
methods, statuses, and names of workflows that exist: nothing secret, and nothing whose number a client decides.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wildcast.contract.status import ExecutionStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.text`: Prometheus' text format, which every scraper reads."""

REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds, in seconds."""

UNKNOWN_ROUTE = "unknown"
"""The route of a request that none answers: its path would be a label that clients choose."""

OTHER_METHOD = "OTHER"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""The methods that are labels; any other is `OTHER_METHOD`."""

Counts = Callable[[], Mapping[ExecutionStatus, int]]
"""How many executions stand in each status that is not final; raises if that cannot be told now."""


Others = Callable[[], Mapping[str, str]]
"""By worker: what another process showed last, as `Metrics.text` has it."""

OWN = "wildcast_"
"""What the names of our own metrics begin with; of another process, only those are shown."""


class TransferCounts(Protocol):
    """What a transfer tells of how far it has come; each number only grows."""

    @property
    def files_done(self) -> int:
        """Files that the store holds."""

    @property
    def bytes_done(self) -> int:
        """Their bytes, and those of files on the way."""

    @property
    def bytes_skipped(self) -> int:
        """Of these: what was not sent, because the store held it."""


TransferObserver = Callable[[TransferCounts], None]
"""Told how far one transfer has come, in order, by any of its threads."""


@dataclass(frozen=True)
class TransferState:
    """A transfer at this moment."""

    limit: int
    """How many requests may be in flight."""
    in_flight: int
    """How many are."""
    slow_downs: int
    """How often, so far, the store asked for fewer."""
    retries: int = 0
    """How often, so far, a request was repeated."""


class Metrics:
    """Counters and histograms of one service, in Prometheus' form."""

    def __init__(self) -> None:
        self._others: Others = dict
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        labels = ("route", "method", "status")
        self._requests = self._counter("wildcast_http_requests", "Requests that were answered.", *labels)
        self._request_seconds = Histogram(
            "wildcast_http_request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            labels,
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._submitted = self._counter("wildcast_executions_submitted", "Executions that were accepted.", "workflow")
        self._ended = {
            status: self._counter(f"wildcast_executions_{status}", f"Executions that ended as {status}.", "workflow")
            for status in ("completed", "failed", "cancelled")
        }
        storage = "storage_type"
        self._published_bytes = self._counter("wildcast_published_bytes", "Bytes of completed publications.", storage)
        self._published_files = self._counter("wildcast_published_files", "Files of completed publications.", storage)
        self._publish_seconds = self._counter(
            "wildcast_publish_seconds", "Time that completed publications took to be uploaded and verified.", storage
        )

        self._sent_bytes = self._counter("wildcast_transfer_sent_bytes", "Bytes that a store acknowledged.")
        self._skipped_bytes = self._counter(
            "wildcast_transfer_skipped_bytes", "Bytes that were not sent, because the store held them."
        )
        self._transferred_files = self._counter("wildcast_transfer_files", "Files that were sent, or held already.")

    def watch(self, counts: Counts) -> None:
        """Show, at every look, how many executions wait, run and are being published."""
        self._registry.register(_Unfinished(counts))

    def watch_workers(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Show, at every look, how many workers take from each kind of queue; nothing while that cannot be counted."""
        self._registry.register(_Workers(counts))

    def watch_transfer(self, state: Callable[[], TransferState]) -> None:
        """Show, at every look, how many requests are and may be in flight, and how often the store slowed us down."""
        self._registry.register(_Transfer(state))

    def transfer_observer(self) -> TransferObserver:
        """Return the observer of one transfer, which counts what is new since it was told last."""
        return _Transferred(self._transferred_files, self._sent_bytes, self._skipped_bytes)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is a template, such as ``/v1/infer/{workflow_name}``."""
        labels = route, method if method in METHODS else OTHER_METHOD, str(status)
        self._requests.labels(*labels).inc()
        self._request_seconds.labels(*labels).observe(seconds)

    def submitted(self, workflow: str) -> None:
        """Count an execution that was accepted."""
        self._submitted.labels(workflow).inc()

    def ended(self, workflow: str, status: str) -> None:
        """Count an execution that is `completed`, `failed` or `cancelled`; any other status is no end that counts."""
        if status in self._ended:
            self._ended[status].labels(workflow).inc()

    def published(self, storage_type: str, files: int, size: int, seconds: float) -> None:
        """Count a committed publication: its files, its bytes, and how long publishing it took."""
        self._published_files.labels(storage_type).inc(files)
        self._published_bytes.labels(storage_type).inc(size)
        self._publish_seconds.labels(storage_type).inc(seconds)

    def include(self, others: Others) -> None:
        """Show, at every look, what the workers of this machine have counted, each under its name."""
        self._others = others

    def text(self) -> bytes:
        """Return everything as `CONTENT_TYPE`; blocks as long as `watch`'s counts do."""
        return generate_latest(_Together(self._registry, self._others))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)


class _Together(CollectorRegistry):
    """One registry, and what other processes showed; a metric of several has one heading."""

    def __init__(self, registry: CollectorRegistry, others: Others) -> None:
        super().__init__(auto_describe=False)
        self._own = registry
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Look at all."""
        found = {metric.name: metric for metric in self._own.collect()}
        for worker, text in self._others().items():
            for other in text_string_to_metric_families(text):
                if not other.name.startswith(OWN):
                    continue
                metric = found.setdefault(other.name, Metric(other.name, other.documentation, other.type))
                for name, labels, value, *_ in other.samples:
                    metric.add_sample(name, {**labels, "worker": worker}, value)
        yield from found.values()


class _Transferred:
    """Turns how far a transfer has come into what was added."""

    def __init__(self, files: Counter, sent: Counter, skipped: Counter) -> None:
        self._counters = files, sent, skipped
        self._seen: tuple[int, ...] = (0, 0, 0)
        self._lock = Lock()

    def __call__(self, counts: TransferCounts) -> None:
        """Count what is new."""
        skipped = counts.bytes_skipped
        now = counts.files_done, counts.bytes_done - skipped, skipped
        with self._lock:
            # A part that is sent again may have been taken back before; a counter cannot go back.
            reached = tuple(map(max, self._seen, now))
            for counter, before, after in zip(self._counters, self._seen, reached, strict=True):
                counter.inc(after - before)
            self._seen = reached


class _Transfer(Collector):
    """The transfer, as it is when somebody looks."""

    def __init__(self, state: Callable[[], TransferState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Look."""
        state = self._state()
        yield GaugeMetricFamily("wildcast_transfer_requests", "Requests to the store in flight.", state.in_flight)
        yield GaugeMetricFamily(
            "wildcast_transfer_requests_limit", "Requests to the store that may be in flight.", state.limit
        )
        yield CounterMetricFamily(
            "wildcast_transfer_slow_downs", "Answers of the store that asked for fewer requests.", state.slow_downs
        )
        yield CounterMetricFamily(
            "wildcast_transfer_retries", "Requests to the store that were repeated after an outage.", state.retries
        )

    def describe(self) -> Iterator[Metric]:
        """Describe nothing: to describe would be to look."""
        return iter(())


class _Workers(Collector):
    """The workers, as they are when somebody looks."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Count."""
        gauge = GaugeMetricFamily("wildcast_workers", "Workers that take from a kind of queue.", labels=["queue"])
        with suppress(Exception):  # as the queue's collector, which says so
            for queue, number in self._counts().items():
                gauge.add_metric([queue], number)
        yield gauge

    def describe(self) -> Iterator[Metric]:
        """Describe nothing: to describe would be to count."""
        return iter(())


class _Unfinished(Collector):
    """The queue, as it is when somebody looks; left out while it cannot be counted, for a gauge of 0 would lie."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Count."""
        gauge = GaugeMetricFamily(
            "wildcast_executions_unfinished",
            "Executions by status: queued, running, pending_results.",
            labels=["status"],
        )
        counted = GaugeMetricFamily("wildcast_queue_readable", "Whether the queue could be counted: 1, or 0.")
        try:
            counts = self._counts()
        except Exception:  # noqa: BLE001 - whatever keeps the records from being read must not keep the rest from being seen
            counted.add_metric([], 0)
        else:
            counted.add_metric([], 1)
            for status, number in counts.items():
                gauge.add_metric([status], number)
        yield gauge
        yield counted

    def describe(self) -> Iterator[Metric]:
        """Describe nothing: to describe would be to count."""
        return iter(())
