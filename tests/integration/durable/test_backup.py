"""What docs/operating.md says of backing up and restoring, done to the letter."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.databases import Postgres
from tests.integration.durable.conftest import Site, kill

import wildcast
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.publish import read_manifest
from wildcast_server.store.checksums import crc64nvme_of
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.publishing import build_store
from wildcast_server.wiring.stack import ApiAlone, EdgeAlone

DOCUMENT = Path(__file__).parents[3] / "docs" / "operating.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented(heading: str) -> list[str]:
    """Return the two blocks below a heading as scripts: how to back up, and how to restore."""
    section = DOCUMENT.read_text().split(f"### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    scripts = ["\n".join(re.findall(r"^\$ (.*)$", block, re.MULTILINE)) for block in BLOCK.findall(section)]
    assert len(scripts) == 2
    return scripts


class Place:
    """A directory with an installation in it, as the document has it."""

    def __init__(
        self, root: Path, heading: str, make_database: Callable[[], str], programs: Path, forks: ForkServer
    ) -> None:
        self.root, self._forks = root, forks
        self.back_up, self.restore = documented(heading)
        self._make_database = make_database
        self._programs = programs
        self.url = make_database()
        self.open: list[Site] = []

    def start(self) -> Site:
        store = (self.root / "wildcast-data" / "objects").as_uri()
        ports = {"api.port": 0, "edge.port": 0}
        site = Site(self.root, self.url, self._forks, "wildcast-data", {"object_storage.store": store, **ports})
        self.open.append(site)
        return site

    def run(self, script: str) -> None:
        path = f"{Path(sys.executable).parent}:{self._programs}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DATABASE_URL": self.url}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def lose_everything(self) -> None:
        """Lose files and database; what comes next begins with an empty one."""
        shutil.rmtree(self.root / "wildcast-data")
        self.url = self._make_database()


@pytest.fixture(params=["With SQLite", "With Postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, forks: ForkServer) -> Iterator[Place]:
    """An installation on a database of each kind."""
    if request.param == "With SQLite":
        url = f"sqlite:///{tmp_path}/wildcast-data/wildcast.sqlite"
        made = Place(tmp_path, request.param, lambda: url, tmp_path, forks)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        made = Place(tmp_path, request.param, server.empty, server.program("pg_dump").parent, forks)
    yield made
    for site in made.open:
        site.close()


@pytest.mark.long_on_postgres
def test_what_was_backed_up_goes_on_after_a_restore(place: Place) -> None:
    """Results open, what ran and what waited completes, and what came after the backup is unknown."""
    site = place.start()
    worker = site.start()
    done = site.submit("computes", files=3)
    site.ended(done)
    large = site.submit("writes_large")
    assert site.ended(large).status is Status.COMPLETED
    running = site.submit("computes", seconds=2, files=2)
    site.started(running)
    waiting = site.submit("computes", files=1)

    place.run(place.back_up)
    after = site.submit("computes")
    kill(worker)
    place.lose_everything()
    place.run(place.restore)

    restored = place.start()
    assert restored.records.get(running).status is Status.RUNNING
    assert restored.records.get(waiting).status is Status.QUEUED
    restored.start()
    for execution_id, files in ((done, 3), (running, 2), (waiting, 1)):
        ended = restored.ended(execution_id)
        assert (ended.status, ended.error_message) == (Status.COMPLETED, None)
        store, prefix = build_store(restored.settings), ended.published.publication.prefix
        manifest = read_manifest(store, prefix)
        assert manifest.files == files
        read = {row.path: crc64nvme_of(store.get(f"{prefix}/{row.path}")) for row in manifest.rows}
        assert read == {row.path: row.crc64nvme for row in manifest.rows}
    assert len(restored.starts(done)) == 1
    with pytest.raises(UnknownExecutionError):
        restored.records.get(after)
    check_readable(restored, large, place.root / "downloads")


def check_readable(site: Site, execution_id: str, directory: Path) -> None:
    """Read a result through the edge, by ranges and in parts."""
    with (
        EdgeAlone(site.settings) as edge,
        ApiAlone(site.settings, edge_url=edge.edge_url) as api,
        wildcast.Client(api.api_url) as client,
    ):
        result = client.get(execution_id).result()
        with result.open_dataset("data.nc") as dataset:
            assert float(dataset["t"].sum()) == sum(range(500_000))
        result.download(directory, "large.bin", progress=False)
    assert (directory / "large.bin").read_bytes() == bytes(range(256)) * 80_000
