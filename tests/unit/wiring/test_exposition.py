"""What workers have counted, shown by the API."""

import os
import time

from prometheus_client.parser import text_string_to_metric_families

from wildcast_server.metrics import Metrics
from wildcast_server.wiring.exposition import FORGET_SECONDS, FRESH_SECONDS, Exposed


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.text().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_what_workers_counted_is_shown_under_their_names(tmp_path):
    """Beside what the API counted itself, under one heading; a process's own numbers are not theirs."""
    exposed, api = Exposed(tmp_path), Metrics()
    for name, times in (("one", 1), ("two", 2)):
        worker = Metrics()
        for _ in range(times):
            worker.ended("w", "completed")
        exposed.write(name, worker)
    api.ended("w", "cancelled")
    api.include(exposed.read)
    shown = samples(api)
    completed = "wildcast_executions_completed_total"
    assert shown[completed, frozenset({("workflow", "w"), ("worker", "one")})] == 1
    assert shown[completed, frozenset({("workflow", "w"), ("worker", "two")})] == 2
    assert shown["wildcast_executions_cancelled_total", frozenset({("workflow", "w")})] == 1
    assert [key for key in shown if key[0] == "process_cpu_seconds_total"] == [
        ("process_cpu_seconds_total", frozenset())
    ]
    text = api.text().decode()
    assert text.count("# TYPE wildcast_executions_completed_total counter") == 1


def test_a_worker_that_is_gone_is_not_shown(tmp_path):
    """Its file is old; a file that cannot be read harms no other."""
    exposed = Exposed(tmp_path)
    exposed.write("gone", Metrics())
    then = time.time() - FRESH_SECONDS - 1
    os.utime(tmp_path / "gone.prom", (then, then))
    exposed.write("here", Metrics())
    (tmp_path / "dangling.prom").symlink_to(tmp_path / "nothing")
    assert exposed.read().keys() == {"here"}


def test_the_file_of_a_worker_that_does_not_come_back_is_removed(tmp_path):
    """Or a machine whose containers have a new name each time would keep one of each."""
    exposed = Exposed(tmp_path)
    for name, seconds in (("yesterday", FORGET_SECONDS + 1), ("today", FRESH_SECONDS + 1)):
        exposed.write(name, Metrics())
        then = time.time() - seconds
        os.utime(tmp_path / f"{name}.prom", (then, then))
    exposed.write("here", Metrics())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.prom", "today.prom"]


def test_without_workers_there_is_nothing_to_show(tmp_path):
    """As before the first start."""
    assert Exposed(tmp_path / "missing").read() == {}
