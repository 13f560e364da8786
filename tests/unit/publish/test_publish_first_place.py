"""Publishing beside the places of attempts that may still write there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wildcast_server.publish import Publisher, read_manifest

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

OUTPUT = {"a": b"1", "b": b"22"}


def _keys(store: Any) -> list[str]:
    return sorted(info.key for info in store.list("outputs"))


def test_it_goes_to_the_first_place_that_is_wanted(watched: Any, publisher: MakePublisher, directory: Directory):
    """Although the places before it are free; the manifest names the execution without a number."""
    published = publisher(watched).begin(directory(OUTPUT), "x", attempt=2, first=3).finish()

    assert published.publication.prefix == "outputs/x-3"
    assert read_manifest(watched, "outputs/x-3").execution == "x"


def test_what_the_places_before_hold_is_not_touched_until_the_commit(
    watched: Any, publisher: MakePublisher, directory: Directory
):
    """Whoever writes there is not disturbed; after the commit nothing of it is left."""
    watched.put("outputs/x/a", b"old")
    ongoing = publisher(watched).begin(directory(OUTPUT), "x", attempt=2, first=2, afresh=True)
    assert ongoing.prefix == "outputs/x-2"
    assert _keys(watched) == ["outputs/x/a"]

    ongoing.finish()

    assert _keys(watched) == ["outputs/x-2/.wildcast/manifest.json.gz", "outputs/x-2/a", "outputs/x-2/b"]


def test_a_publication_at_a_place_before_is_removed(watched: Any, publisher: MakePublisher, directory: Directory):
    """Whoever committed it died before it was recorded, so nobody was told; what others have put there stays."""
    publisher(watched).publish(directory({"a": b"old"}), "x")
    watched.put("outputs/x/staged", b"by hand")

    publisher(watched).begin(directory(OUTPUT), "x", attempt=2, first=2).finish()

    assert [key for key in _keys(watched) if not key.startswith("outputs/x-2/")] == ["outputs/x/staged"]


def test_a_publication_at_a_place_before_stays_whose_name_others_may_have(
    watched: Any, publisher: MakePublisher, directory: Directory
):
    """Readers have it."""
    first = publisher(watched).publish(directory({"a": b"old"}), "x", owner="me")

    assert publisher(watched).publish(directory(OUTPUT), "x", owner="me").publication.prefix == "outputs/x-2"

    assert read_manifest(watched, "outputs/x") == first.manifest
    assert watched.get("outputs/x/a") == b"old"


def test_what_is_found_published_is_not_removed_as_a_place_before(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """A publisher that was killed after the commit leaves its ledger; only the places before that one are tidied up."""
    root, ledgers = directory(OUTPUT), tmp_path / "ledgers"
    begun = publisher(watched, ledgers=ledgers).begin(root, "x")
    assert begun.prefix == "outputs/x"
    [ledger] = ledgers.iterdir()
    first = begun.finish()
    ledger.touch()

    assert publisher(watched, ledgers=ledgers).publish(root, "x").manifest == first.manifest

    assert read_manifest(watched, "outputs/x") == first.manifest


def test_a_place_that_holds_something_else_is_passed_over(watched: Any, publisher: MakePublisher, directory: Directory):
    """As without a first place to look at."""
    publisher(watched).begin(directory({"a": b"old"}), "x", first=2).finish()

    published = publisher(watched).begin(directory(OUTPUT), "x", attempt=2, first=2).finish()

    assert published.publication.prefix == "outputs/x-3"


def test_killed_after_the_commit_it_is_tidied_up_by_the_next(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """What an earlier attempt left is removed by whoever finds the publication committed."""
    root = directory(OUTPUT)
    watched.put("outputs/x/a", b"old")
    ledgers = tmp_path / "ledgers"
    ongoing = publisher(watched, ledgers=ledgers).begin(root, "x", attempt=2, first=2)
    assert ongoing.prefix == "outputs/x-2"
    kept = {path: path.read_bytes() for path in ledgers.iterdir()}
    ongoing.finish()
    # As a kill between the commit and the end would have left it.
    watched.put("outputs/x/a", b"old")
    for path, data in kept.items():
        path.write_bytes(data)

    published = publisher(watched, ledgers=ledgers).begin(root, "x", attempt=2, first=2).finish()

    assert published.publication.prefix == "outputs/x-2"
    assert "outputs/x/a" not in _keys(watched)
    assert list(ledgers.iterdir()) == []
