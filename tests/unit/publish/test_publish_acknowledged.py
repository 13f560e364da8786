"""What a publication keeps of what the store has acknowledged: when it is written, and when it is not believed."""

from pathlib import Path

import pytest

from wildcast_server.publish.ledgers import WRITE_EVERY, Acknowledged
from wildcast_server.transfer.files import LocalFile, StoredFile
from wildcast_server.transfer.ledger import Ledger, read_ledger


class Clock:
    """Tells the seconds that it is set to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def acknowledged(tmp_path: Path, clock: Clock) -> Acknowledged:
    """What is kept in a fresh ledger."""
    made = Acknowledged(tmp_path / "ledger", clock)
    made.open()
    return made


def _add(acknowledged: Acknowledged, path: str, *, is_multipart: bool = False) -> None:
    local = LocalFile(path, f"/somewhere/{path}", 1, 2, 3, 4, 5)
    acknowledged.add(local, StoredFile(path, f"p/{path}", 1, "crc", '"e"', None, is_multipart, "text/plain"))


def _written(acknowledged: Acknowledged) -> list[str]:
    assert acknowledged.path is not None
    return sorted(read_ledger(acknowledged.path))


def test_small_files_are_written_together(acknowledged: Acknowledged, clock: Clock):
    """The first is written at once, those right after it with the first that comes when the time is over."""
    for path in "abc":
        _add(acknowledged, path)
    assert _written(acknowledged) == ["a"]
    clock.now += 2 * WRITE_EVERY
    _add(acknowledged, "d")
    assert _written(acknowledged) == ["a", "b", "c", "d"]


def test_a_large_file_is_written_at_once(acknowledged: Acknowledged):
    """To send it again would cost more than a write does."""
    _add(acknowledged, "a")
    _add(acknowledged, "b")
    _add(acknowledged, "large", is_multipart=True)
    assert _written(acknowledged) == ["a", "b", "large"]


@pytest.mark.parametrize("end", [Acknowledged.write, Acknowledged.close])
def test_nothing_is_left_unwritten(acknowledged: Acknowledged, end):
    """Whoever pauses or ends writes down what there is."""
    _add(acknowledged, "a")
    _add(acknowledged, "b")
    end(acknowledged)
    assert _written(acknowledged) == ["a", "b"]


def test_what_is_forgotten_is_not_believed(acknowledged: Acknowledged):
    """A file that the store turned out not to hold is none of the ledger's any more, though it was not written yet."""
    _add(acknowledged, "a")
    _add(acknowledged, "b")
    acknowledged.forget(["b"])
    assert _written(acknowledged) == ["a"]
    assert list(acknowledged.rows) == ["a"]


def test_a_ledger_that_cannot_be_corrected_goes(
    acknowledged: Acknowledged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """On a disk that is full, what is not true any more cannot be noted: better no ledger, and one warning."""
    _add(acknowledged, "a")
    _add(acknowledged, "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "add", full)
    acknowledged.forget(["a"])
    assert acknowledged.path is not None
    assert not acknowledged.path.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
