"""What a worker and its database cannot be started with."""

import threading

import pytest

from wildcast_server.errors import SettingsError
from wildcast_server.settings import load_settings
from wildcast_server.wiring.database import database_url
from wildcast_server.wiring.worker import run_worker


@pytest.fixture
def settings_of(tmp_path):
    """Settings; a test names what differs."""
    return lambda **values: load_settings({"data_dir": tmp_path / "data", **values}, environ={}, cwd=tmp_path).settings


@pytest.mark.parametrize("queues", [[], ["compute", "render"]])
def test_a_queue_that_there_is_not_is_refused(settings_of, tmp_path, queues):
    """Before anything is made; the sentence has those that there are."""
    with pytest.raises(SettingsError, match="compute and publish"):
        run_worker(settings_of(), threading.Event(), lambda: None, queues=queues)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(settings_of, url):
    """Other processes would see nothing of it."""
    with pytest.raises(SettingsError, match="in memory"):
        database_url(settings_of(**{"database.url": url}))


def test_postgres_is_reached_by_the_driver_that_is_installed(settings_of):
    """Whoever writes the URL need not know of drivers; the password stays in it."""
    url = database_url(settings_of(**{"database.url": "postgresql://user:word@db/wildcast"}))
    assert url == "postgresql+psycopg://user:word@db/wildcast"


def test_a_url_that_cannot_be_read_is_not_repeated(settings_of):
    """It may hold a password."""
    with pytest.raises(SettingsError, match=r"database\.url") as caught:
        database_url(settings_of(**{"database.url": "canary:/word"}))
    assert "canary" not in str(caught.value)
