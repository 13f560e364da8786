"""Machines that share the directory of outputs, and nothing else on their disks."""

import time

import pytest

from wildcast_server.jobs.sinks import sink_of
from wildcast_server.settings import load_settings
from wildcast_server.wiring.publishing import build_publisher, build_store, ledgers_of
from wildcast_server.wiring.streaming import streaming_sink


@pytest.fixture
def machine(tmp_path):
    """Give the settings of a machine, by its name."""

    def settings_of(name):
        values = {
            "data_dir": tmp_path / name,
            "results.output_dir": tmp_path / "shared",
            "object_storage.enabled": True,
            "object_storage.store": (tmp_path / "objects").as_uri(),
        }
        return load_settings(values, environ={}, cwd=tmp_path).settings

    return settings_of


def publisher_of(settings):
    return build_publisher(settings, build_store(settings))


def test_what_was_streamed_on_one_is_published_by_another(machine, tmp_path):
    """All of it, with what is on disk; and no ledger is left."""
    here, there = machine("here"), machine("there")
    directory = tmp_path / "shared" / "exec_1_00000001"
    begun = publisher_of(here).begin(directory, directory.name, afresh=True)
    sink = sink_of(streaming_sink(here, begun.prefix, begun.streamed), directory)
    with sink.open("streamed.bin") as file:
        file.write(b"x" * 5)
    sink.finish()
    begun.close()
    (directory / "written.txt").write_text("y")
    published = publisher_of(there).publish(directory, directory.name)
    assert (published.publication.files, published.publication.bytes) == (2, 6)
    assert list(ledgers_of(there).iterdir()) == []


def test_what_one_has_uploaded_another_does_not_send_again(machine, tmp_path):
    """It finds the ledger of what went up while the workflow computed."""
    directory = tmp_path / "shared" / "exec_1_00000001"
    begun = publisher_of(machine("here")).begin(directory, directory.name, afresh=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "written.txt").write_text("y")
    stored = tmp_path / "objects" / "outputs" / directory.name / "written.txt"
    deadline = time.monotonic() + 30
    with begun.live(lambda: None):
        while not stored.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    begun.close()
    before = stored.stat()
    publisher_of(machine("there")).publish(directory, directory.name)
    assert stored.stat() == before
