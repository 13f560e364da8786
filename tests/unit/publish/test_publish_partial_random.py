"""Whatever workflows, kills and other attempts do: no data object that readers could have seen is written anew."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.naming import PARTIAL_PATH, is_metadata
from wildcast_server.publish import Publisher, Publishing, live, partial
from wildcast_server.publish.partial import read_partial

MakePublisher = Callable[..., Publisher]

NAMES = ("a", "b", "d/c", "d/e", "z.zarr/.zarray", "z.zarr/0")


class Witness:
    """Sees every write, and remembers what objects were when somebody could have read them."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.objects: dict[str, bytes] = {}
        self.seen: dict[str, bytes] = {}
        self.rewritten: list[str] = []
        self._shown: set[str] = set()

    def __call__(self, key: str, data: bytes) -> bytes:
        place = "/".join(key.split("/")[:2])
        if key.endswith(PARTIAL_PATH):
            self._shown.add(place)
            there = {info.key for info in self._store.inner.list(place)}
            self.seen |= {each: held for each, held in self.objects.items() if each in there}
        elif not is_metadata(key):
            if self.seen.get(key, data) != data:
                self.rewritten.append(key)
            self.objects[key] = data
            if place in self._shown:
                self.seen[key] = data
        return data


def _write(root: Path, chance: random.Random) -> None:
    """Write, rewrite or remove a file, most of which look as if they had rested."""
    path = root / chance.choice(NAMES)
    if chance.random() < 0.15:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}" if is_metadata(path.name) else chance.randbytes(chance.choice((1, 1, 40))))
    if chance.random() < 0.8:
        when = time.time_ns() - 60_000_000_000
        os.utime(path, ns=(when, when))


def _compute(publishing: Publishing, root: Path, chance: random.Random) -> None:
    asked_at = chance.randrange(12)
    with publishing.live(lambda: None):
        for number in range(16):
            if number == asked_at:
                publishing.share()
            _write(root, chance)
            time.sleep(chance.choice((0.0, 0.03, 0.06)))


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 60))])
def test_nothing_that_was_seen_is_rewritten(
    watched: Any, publisher: MakePublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    """Over several attempts, of which some are killed; at last the result is what the last one wrote."""
    chance = random.Random(seed)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(partial, "SHOW_SECONDS", 0.02)
    monkeypatch.setattr(partial, "_METADATA_SECONDS", 0.02)
    monkeypatch.setattr(partial, "_SHOW_SHARE", 0)
    witness = watched.change = Witness(watched)
    make = publisher(watched, ledgers=tmp_path / "ledgers")
    root = tmp_path / "output"
    may_be_seen = False
    attempt = 0
    for _ in range(chance.randint(1, 3)):
        attempt += chance.random() < 0.5 or attempt == 0
        for path in root.rglob("*"):
            if path.is_file():
                path.unlink()
        publishing = make.begin(root, "x", attempt=attempt, afresh=True, may_be_seen=may_be_seen)
        _compute(publishing, root, chance)
        may_be_seen = True
        publishing.abandon() if chance.random() < 0.5 else publishing.close()
        # Then the attempt that was begun anew.
        attempt += 1
    for path in root.rglob("*"):
        if path.is_file():
            path.unlink()
    publishing = make.begin(root, "x", attempt=attempt, afresh=True, may_be_seen=True)
    _compute(publishing, root, chance)
    (root / "last").write_bytes(b"last")
    publishing.close()
    published = make.begin(root, "x", attempt=attempt, may_be_seen=True).finish()

    assert witness.rewritten == []
    prefix = published.publication.prefix
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {row.path: watched.get(f"{prefix}/{row.path}") for row in published.manifest.rows} == files
    left = {info.key for info in watched.list("outputs")} - {f"{prefix}/{path}" for path in files}
    assert left == {published.publication.manifest}
    assert read_partial(watched, prefix) is None
