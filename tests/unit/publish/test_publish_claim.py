"""Several publishers of one name, at once and after one another."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import boto3
import pytest

from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.errors import EmptyOutputError, NetworkError, PublicationError
from wildcast_server.publish import Published, Publisher, manifest_key, read_manifest
from wildcast_server.publish.claim import CLAIM_PATH, Claim, claim_key
from wildcast_server.store import ObjectInfo, ObjectStore, StoreOptions, open_store

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

FILES = {"data/a": b"1", "data/b": b"22", "s/zarr.json": b'{"node_type": "array"}'}
OTHER = {"data/a": b"other", "data/c": b"333"}


def _assert_whole(store: ObjectStore, published: Published, contents: dict[str, bytes]) -> None:
    """Compare all that is below a publication's prefix, and its manifest, with what was published."""
    prefix = published.publication.prefix
    found = {info.key.removeprefix(f"{prefix}/"): store.get(info.key) for info in store.list(prefix)}
    found.pop(MANIFEST_PATH)
    assert found == contents
    manifest = read_manifest(store, prefix)
    assert manifest == published.manifest
    assert {row.path: row.etag for row in manifest.rows} == {
        path: "" if store.is_on_disk else store.head(f"{prefix}/{path}").etag for path in contents
    }


@pytest.mark.parametrize("kind", ["memory", "file", "s3"])
@pytest.mark.parametrize("other", [OTHER, FILES], ids=["other files", "the same files"])
def test_one_that_begins_while_another_uploads(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    faulty: Any,
    publisher: MakePublisher,
    directory: Directory,
    kind: str,
    other: dict[str, bytes],
):
    """Of two publishers of one name neither writes or deletes what the other committed: both are whole."""
    uris = {"memory": "memory://", "file": (tmp_path / "store").as_uri()}
    uri = uris.get(kind) or f"s3://{request.getfixturevalue('bucket')}"
    options = StoreOptions(endpoint_url=request.getfixturevalue("s3_endpoint") if kind == "s3" else None)
    store = faulty(open_store(uri, options))
    second: list[Published] = []

    def meanwhile(key: str, data: bytes) -> bytes:
        if key.endswith("run/data/a"):
            second.append(publisher(store.inner).publish(directory(other, "second"), "run", owner="b"))
        return data

    store.change = meanwhile
    first = publisher(store).publish(directory(FILES), "run", owner="a")
    assert (first.publication.prefix, second[0].publication.prefix) == ("outputs/run", "outputs/run-2")
    _assert_whole(store, first, FILES)
    _assert_whole(store, second[0], other)


def test_many_at_once(tmp_path: Path, publisher: MakePublisher, directory: Directory):
    """Whatever the order in which six publishers of one name come, six whole publications are there."""
    store = open_store((tmp_path / "store").as_uri())
    contents = [{**FILES, "data/a": b"%d" % number} for number in range(6)]
    roots = [directory(content, f"root{number}") for number, content in enumerate(contents)]
    with ThreadPoolExecutor(6) as pool:
        published = list(pool.map(lambda root: publisher(store).publish(root, "run", owner=str(root)), roots))
    assert len({one.publication.prefix for one in published}) == 6
    for one, content in zip(published, contents, strict=True):
        _assert_whole(store, one, content)


def test_one_that_commits_just_before_the_claim(watched: Any, publisher: MakePublisher, directory: Directory):
    """A publication that is committed between the look and the claim is found, and nothing is written over it."""
    root = directory(FILES)
    committed: list[Published] = []

    def meanwhile(key: str, data: bytes) -> bytes:
        if key == claim_key("outputs/run"):
            committed.append(publisher(watched.inner).publish(root, "run", owner="b"))
        return data

    watched.change = meanwhile
    published = publisher(watched).publish(root, "run", owner="a")
    assert published.manifest == committed[0].manifest
    assert watched.written == [claim_key("outputs/run")]
    _assert_whole(watched, published, FILES)


def test_a_claim_that_is_left_over(
    watched: Any, publisher: MakePublisher, directory: Directory, caplog: pytest.LogCaptureFixture
):
    """The prefix of a publisher that was killed is left alone, which is said; the same again is found where it is."""
    Claim.take(watched, "outputs/run", "killed")
    root = directory(FILES)
    first = publisher(watched).publish(root, "run", owner="a")
    assert first.publication.prefix == "outputs/run-2"
    assert "outputs/run is being published by somebody else, or was interrupted" in caplog.text
    assert publisher(watched).publish(root, "run", owner="a").publication == first.publication


def test_the_same_owner_goes_on(watched: Any, publisher: MakePublisher, directory: Directory):
    """Who was killed and begins again publishes where it had begun; what lay there and is not its own is removed."""
    Claim.take(watched, "outputs/run", "a")
    watched.put("outputs/run/stale", b"x")
    published = publisher(watched).publish(directory(FILES), "run", owner="a")
    assert published.publication.prefix == "outputs/run"
    _assert_whole(watched, published, FILES)


def test_without_an_owner_nothing_is_claimed(watched: Any, publisher: MakePublisher, directory: Directory):
    """An execution's id is nobody else's, so its publication costs no request more."""
    publisher(watched).publish(directory(FILES), "run")
    assert claim_key("outputs/run") not in watched.written


def test_a_failure_releases_the_claim(watched: Any, publisher: MakePublisher, directory: Directory):
    """Only a kill leaves a claim behind."""

    def refuse(key: str, data: bytes) -> bytes:
        if key.endswith("data/a"):
            raise NetworkError(f"{key} could not be written", key)
        return data

    watched.change = refuse
    with pytest.raises(PublicationError):
        publisher(watched).publish(directory(FILES), "run", owner="a")
    assert claim_key("outputs/run") not in {info.key for info in watched.list("outputs/run")}


@pytest.mark.parametrize("held", [b"", b"junk", b"ab"])
def test_a_claim_that_cannot_be_read(watched: Any, held: bytes):
    """What stands there and is no claim of ours is somebody's all the same."""
    watched.put(claim_key("run"), held)
    assert Claim.take(watched, "run", "a") is None
    assert watched.get(claim_key("run")) == held


def test_a_claim_whose_answer_was_lost(watched: Any):
    """If the store repeats a request that had succeeded, the claim is ours."""
    watched.change = lambda key, data: (watched.inner.put(key, data), data)[1]
    assert Claim.take(watched, "run", "a") is not None


def test_a_claim_that_cannot_be_released(
    watched: Any, publisher: MakePublisher, directory: Directory, caplog: pytest.LogCaptureFixture
):
    """A committed publication is one, even if its claim stays, which a warning says."""

    def fail(key: str) -> None:
        raise NetworkError(f"{key} could not be deleted", key)

    watched.delete = fail
    published = publisher(watched).publish(directory(FILES), "run", owner="a")
    assert read_manifest(watched, "outputs/run") == published.manifest
    assert f"outputs/run/{CLAIM_PATH} stays" in caplog.text


def test_a_publication_being_made_is_never_removed(watched: Any, publisher: MakePublisher, directory: Directory):
    """A prefix above a claimed one is refused, and nothing of it is deleted."""
    Claim.take(watched, "outputs/run", "a")
    with pytest.raises(PublicationError, match="another publication below outputs"):
        publisher(watched, prefix="").publish(directory({"x": b"1"}, "other"), "outputs")
    assert watched.head(claim_key("outputs/run"))


def test_a_claim_that_comes_after_the_failure_is_given_back(
    watched: Any, publisher: MakePublisher, directory: Directory
):
    """The store is asked in the background; its answer may be slower than a directory is found to be empty."""
    failed, head = threading.Event(), watched.inner.head

    def slow(key: str) -> ObjectInfo:
        assert failed.wait(10)
        return head(key)

    watched.head = slow
    begun = publisher(watched).begin(directory({}), "run", owner="me")
    with pytest.raises(EmptyOutputError):
        begun.finish()
    failed.set()
    wait([begun._opening._opening], 10)
    begun._threads.shutdown()
    assert list(watched.list("outputs")) == []


def _names(store: Any, prefix: str = "outputs") -> list[str]:
    return sorted(info.key.removeprefix("outputs/") for info in store.list(prefix))


def test_what_others_have_put_there_is_never_removed(
    watched: Any, publisher: MakePublisher, directory: Directory, caplog: pytest.LogCaptureFixture
):
    """Objects without a publisher's claim are somebody's: the next place is taken, and said, time and again."""
    watched.put("outputs/run/staged/by-hand", b"x")
    watched.put("outputs/run/data/a", b"not ours")
    for number in (1, 2):
        published = publisher(watched).publish(directory(FILES, f"root{number}"), "run", owner=f"me{number}")
        assert published.publication.prefix == "outputs/run-2"
    assert "outputs/run holds objects of others: they stay, and another prefix is used" in caplog.text
    assert _names(watched, "outputs/run") == ["run/data/a", "run/staged/by-hand"]
    assert watched.get("outputs/run/data/a") == b"not ours"


def test_a_kill_while_looking_makes_nothing_ours(watched: Any, publisher: MakePublisher, directory: Directory):
    """The prefix is claimed only when nobody's objects lie there: a claim says that all is the publisher's."""
    watched.put("outputs/run/staged", b"x")
    publisher(watched).publish(directory(FILES), "run", owner="a")
    assert claim_key("outputs/run") not in watched.written


def test_what_comes_while_it_is_published_is_refused_and_stays(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """Nothing of others is removed before the commit; the next try goes to another place."""

    def meanwhile(key: str, data: bytes) -> bytes:
        if key.endswith("zarr.json"):
            watched.inner.put("outputs/run/staged", b"x")
        return data

    watched.change = meanwhile
    root, make = directory(FILES), lambda: publisher(watched, ledgers=tmp_path / "ledgers")
    with pytest.raises(PublicationError, match=r"did not write \(outputs/run/staged\), and they are not removed"):
        make().publish(root, "run", owner="a")
    watched.change = lambda _key, data: data
    assert make().publish(root, "run", owner="a").publication.prefix == "outputs/run-2"
    assert watched.get("outputs/run/staged") == b"x"


@pytest.mark.parametrize("lost", [False, True], ids=["acknowledged", "with an answer that was lost"])
def test_what_a_failure_left_is_gone_on_with(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, *, lost: bool
):
    """Without a claim the ledger tells what is ours, and of an answer that was lost the file itself."""

    def refuse(key: str, data: bytes) -> bytes:
        if key.endswith("zarr.json"):
            if lost:
                watched.inner.put(key, data)
            raise NetworkError(f"{key} could not be written", key)
        return data

    root, make = directory(FILES), lambda: publisher(watched, ledgers=tmp_path / "ledgers")
    watched.change = refuse
    with pytest.raises(PublicationError):
        make().publish(root, "run", owner="a")
    watched.change = lambda _key, data: data
    (root / "data/b").unlink()
    published = make().publish(root, "run", owner="a")
    assert published.publication.prefix == "outputs/run"
    _assert_whole(watched, published, {path: data for path, data in FILES.items() if path != "data/b"})


def test_what_is_deleted_is_said(
    watched: Any, publisher: MakePublisher, directory: Directory, caplog: pytest.LogCaptureFixture
):
    """A line names it."""
    caplog.set_level("INFO")
    Claim.take(watched, "outputs/run", "a")
    for number in range(5):
        watched.put(f"outputs/run/stale{number}", b"x")
    publisher(watched).publish(directory(FILES), "run", owner="a")
    assert "outputs/run: deleted what was begun there and is not published: outputs/run/stale0, " in caplog.text
    assert "and 2 more" in caplog.text


def test_a_colleagues_upload_goes_on(
    s3_endpoint: str, bucket: str, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """Of the uploads that have not ended, those of the publication's own files alone are given up."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    for key in ("outputs/run/large", "outputs/run/theirs"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    root = directory({"large": b"x" * (6 << 20)})
    publisher(store, ledgers=tmp_path / "ledgers").publish(root, "run", owner="a")
    left = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    client.close()
    assert [upload["Key"] for upload in left] == ["outputs/run/theirs"]


def test_the_uploads_of_a_killed_run_are_given_up(
    s3_endpoint: str, bucket: str, publisher: MakePublisher, directory: Directory
):
    """Its claim says that all of them are its own, also before any object was stored."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    Claim.take(store, "outputs/run", "a")
    client.create_multipart_upload(Bucket=bucket, Key="outputs/run/gone-since")
    publisher(store).publish(directory(FILES), "run", owner="a")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    client.close()
    assert store.head(manifest_key("outputs/run"))
