"""Publications that are killed, and taken up by the next process."""

import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.failpoints import FAILPOINTS
from wildcast_server.transfer.ledger import read_ledger

LANES = 2
VERIFIED = FAILPOINTS[FAILPOINTS.index("publish.verified") :]
Start = Callable[..., Any]


@dataclass
class Kills:
    """What happened in all trials so far."""

    kills: int = 0
    where: Counter[str] = field(default_factory=Counter)


@dataclass
class Lane:
    """An endpoint, and a process that publishes to it."""

    endpoint: Any
    publishers: Any
    work: Any
    random: random.Random
    kills: Kills = field(default_factory=Kills)
    usual: float = 0.2
    """Seconds that a publication takes that nobody kills."""

    def trial(self, number: int, failpoint: str | None) -> None:
        """Publish, die once or twice, publish again, and look at what there is."""
        directory = self.work.make(f"k{number}", large=failpoint == "upload.part" or number % 3 == 0)
        acknowledged = self._die(directory, failpoint)
        if self.random.random() < 0.3:
            acknowledged |= self._die(directory, None, acknowledged)
        ended = self.publishers.publish(directory)
        assert ended["status"] == "done", f"killed at {failpoint}, it could not go on: {ended['error']}"
        self._check(directory, acknowledged)
        self.endpoint.ask("POST", "_control/reset")

    def _die(self, directory: Path, failpoint: str | None, before: dict[str, int] | None = None) -> dict[str, int]:
        """Publish and be killed; return how often each object was written that must not be written again."""
        if failpoint is None:
            ended = self.publishers.publish(directory, kill_after=self.random.uniform(0, self.usual))
        else:
            nth = self.random.randint(1, 2) if failpoint in ("upload.part", "upload.read", "upload.stored") else 1
            ended = self.publishers.publish(directory, failpoint=f"{failpoint}:{nth}")
            assert ended["status"] == "killed", f"{failpoint} was not reached: {ended['error']}"
        assert ended["status"] != "failed", ended["error"]
        self.kills.kills += ended["status"] == "killed"
        self.kills.where[failpoint or "any moment"] += ended["status"] == "killed"
        return self._acknowledged(directory, everything=ended["status"] == "done" or failpoint in VERIFIED) | (
            before or {}
        )

    def _acknowledged(self, directory: Path, *, everything: bool) -> dict[str, int]:
        """Return the writes so far of what the ledger names, or of all once it was verified."""
        prefix = f"outputs/{directory.name}"
        objects = self.endpoint.objects()
        named = {
            f"{prefix}/{path}" for file in self.publishers.ledgers.glob("*.uploaded") for path in read_ledger(file)
        }
        return {
            key: stored["puts"]
            for key, stored in objects.items()
            if key in named or ((everything or _is_committed(objects)) and ".wildcast/claim" not in key)
        }

    def _check(self, directory: Path, acknowledged: dict[str, int]) -> None:
        objects = self.endpoint.objects()
        again = {key: objects[key]["puts"] for key, puts in acknowledged.items() if objects[key]["puts"] != puts}
        assert not again, f"uploaded again: {again}"
        assert self.endpoint.stats()["unfinished_uploads"] == []
        self.work.assert_published(self.endpoint, directory, f"outputs/{directory.name}")
        assert list(self.publishers.ledgers.glob("*.uploaded")) == []


def _is_committed(objects: dict[str, Any]) -> bool:
    return any(key.endswith("/manifest.json.gz") for key in objects)


def _drawn(count: int) -> list[str | None]:
    """Return where each trial dies: half of them at the named places in turn, half at a random moment."""
    return [FAILPOINTS[number // 2 % len(FAILPOINTS)] if number % 2 == 0 else None for number in range(count)]


@pytest.fixture
def start_lane(start_endpoint: Start, start_publishers: Start, tmp_path: Path, work: Any) -> Callable[[int], Lane]:
    """Start an endpoint and a process that publishes there; the argument is a seed."""

    def start(seed: int) -> Lane:
        endpoint = start_endpoint()
        lane = Lane(
            endpoint, start_publishers(endpoint.url), type(work)(tmp_path / f"lane{seed}", seed), random.Random(seed)
        )
        for number in range(3):
            ended = lane.publishers.publish(lane.work.make(f"usual{number}", large=True))
            assert ended["status"] == "done", ended["error"]
            lane.usual = ended["seconds"]
        endpoint.ask("POST", "_control/reset")
        return lane

    return start


@pytest.mark.parametrize("failpoint", ["upload.part", pytest.param("publish.committed", marks=pytest.mark.long)])
def test_a_killed_publication_is_taken_up(start_lane: Callable[[int], Lane], failpoint: str):
    """Killed in the middle of a multipart upload, or right after the commit, it is whole after the next run."""
    start_lane(1).trial(0, failpoint)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_is_lost_orphaned_or_sent_again_after_a_kill(
    start_lane: Callable[[int], Lane],
    figures: Callable[..., None],
):
    """Killed at every named place and at random moments, each publication is whole after the next run."""
    count = int(os.environ.get("FAULTS_KILLS", "500"))
    places = list(enumerate(_drawn(count)))
    lanes = [start_lane(seed) for seed in range(LANES)]

    def run(lane: Lane, own: list[tuple[int, str | None]]) -> None:
        for number, failpoint in own:
            lane.trial(number, failpoint)

    with ThreadPoolExecutor(LANES) as threads:
        list(threads.map(run, lanes, [places[lane::LANES] for lane in range(LANES)]))
    where = sum((lane.kills.where for lane in lanes), Counter())
    figures(
        "kill -9",
        resumed=f"{count} of {count}",
        kills=sum(lane.kills.kills for lane in lanes),
        lost=0,
        uploaded_again=0,
        orphans=0,
        at_random=where["any moment"],
        at_named_places=where.total() - where["any moment"],
    )
