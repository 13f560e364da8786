"""Records of every kind, each fresh."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wildcast_server.records import MemoryRecords, Records, SqlRecords, ensure_schema, open_engine


@pytest.fixture(params=["memory", "sqlite in memory", "sqlite file"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """One implementation of the port after the other, empty."""
    if request.param == "memory":
        opened: Records = MemoryRecords()
    else:
        engine = open_engine("sqlite://" if "memory" in request.param else f"sqlite:///{tmp_path / 'r.sqlite'}")
        ensure_schema(engine)
        opened = SqlRecords(engine)
    yield opened
    opened.close()
