"""Processes that start together over an empty database, of which one makes the tables."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.settings import Settings, load_settings
from wildcast_server.wiring import database
from wildcast_server.wiring.database import ensure_database, open_records


@pytest.mark.timeout(60)
def test_several_that_start_at_once_do_not_wait_for_each_other_for_ever(database_url: str, tmp_path: Path):
    """Whoever waits for the one that makes the tables must not be what this one waits for."""
    settings = settings_of(database_url, tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: ensure_database(settings), range(4)))
    records = open_records(settings)
    assert records.unfinished() == []
    records.close()


def test_one_that_never_comes_to_its_end_is_not_waited_for_for_ever(
    database_url: str, tmp_path: Path, monkeypatch, caplog
):
    """A migration that was stopped by Ctrl-Z: the sentence says whom it waits for."""
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(database, "_SAY_SECONDS", 0.2)
    settings = settings_of(database_url, tmp_path)
    ensure_database(settings)
    engine = database.open_engine(database_url)
    waits_in_vain = pytest.raises(ServiceUnavailableError, match=r"another process .* start again when it has ended")
    with database._alone(engine), waits_in_vain:
        ensure_database(settings)
    engine.dispose()
    assert "waiting for another process" in caplog.text
    ensure_database(settings)


def settings_of(database_url: str, tmp_path: Path) -> Settings:
    values = {"database.url": database_url, "data_dir": tmp_path / "data"}
    return load_settings(values, environ={}, cwd=tmp_path).settings
