"""Processes that start together over an empty database, of which one makes the tables."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wildcast_server.settings import load_settings
from wildcast_server.wiring.database import ensure_database, open_records


@pytest.mark.timeout(60)
def test_several_that_start_at_once_do_not_wait_for_each_other_for_ever(database_url: str, tmp_path: Path):
    """Whoever waits for the one that makes the tables must not be what this one waits for."""
    values = {"database.url": database_url, "data_dir": tmp_path / "data"}
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: ensure_database(settings), range(4)))
    records = open_records(settings)
    assert records.unfinished() == []
    records.close()
