"""Records of every kind, each empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wildcast_server.records import MemoryRecords, Records, SqlRecords, ensure_schema, open_engine


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name one database after the other that several processes could share, with the tables and nothing in them."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres").emptied())
    name = f"sqlite:///{tmp_path / 'r.sqlite'}"
    engine = open_engine(name)
    ensure_schema(engine)
    engine.dispose()
    return name


@pytest.fixture(params=["memory", "sqlite in memory", "sqlite file", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """One implementation of the port after the other, empty."""
    if request.param == "memory":
        yield MemoryRecords()
        return
    urls = {"sqlite in memory": "sqlite://", "sqlite file": f"sqlite:///{tmp_path / 'r.sqlite'}"}
    url = urls.get(request.param) or request.getfixturevalue("postgres").emptied()
    engine = open_engine(url)
    ensure_schema(engine)
    opened = SqlRecords(engine)
    yield opened
    opened.close()
