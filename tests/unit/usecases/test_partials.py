"""Describing what an execution has stored so far."""

import json

import pytest

from wildcast.contract.manifest import Dataset, FileRow, Manifest, encode_manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import NoResultsError, StoreIoError
from wildcast_server.publish.partial import partial_key, write_partial
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.usecases.partials import KEEP_SECONDS, Partials

ID = "exec_1_00000001"
CDN = "https://cdn.example"
DATASET = Dataset(path="a.zarr", format="zarr3")


class Clock:
    """Seconds that a test lets go by."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def signer():
    """A signer of our own domain, with signatures of a minute."""
    return CloudFrontSigner(CDN, "KTEST", keys.generate_private_key(), expires_in=60)


@pytest.fixture
def store():
    """A store in memory."""
    return open_store("memory://")


@pytest.fixture
def clock():
    """What the use case reads."""
    return Clock()


@pytest.fixture
def partials(records, store, signer, clock):
    """The use case, over object storage."""
    return Partials(records, store, signer, "outputs", clock=clock)


@pytest.fixture
def running(records):
    """Record a running execution."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={"n": 1}))
    return records.change(ID, expected=Status.QUEUED, to=Status.RUNNING, started_at=utc_now())


@pytest.fixture
def show(store):
    """Let an attempt show files, as a worker does."""

    def write(*paths: str, attempt=1, execution=ID, prefix=f"outputs/{ID}"):
        rows = [FileRow(path, 5, "AAAAAAAAAAA=", '"e"', "") for path in paths]
        about = {"execution": execution, "attempt": attempt, "created_at": utc_now(), "verified": "crc64nvme"}
        write_partial(store, prefix, Manifest.of(rows, datasets=(DATASET,), **about))

    return write


def test_the_first_who_asks_begins_it(partials, records, running):
    """There is nothing yet, and the worker is told to list what there is."""
    with pytest.raises(NoResultsError, match="nothing of it is there to be read yet") as raised:
        partials.describe(running)
    assert raised.value.status is Status.RUNNING
    assert records.get(ID).partial_asked
    assert records.heed({ID: 1})[ID].partial


def test_what_is_shown_is_described(partials, running, show):
    """As a result is, signed for its prefix, and marked as partial."""
    show("a.zarr/zarr.json", "a.zarr/c/0")
    told = json.loads(partials.describe(running).to_json())

    assert told["partial"] is True
    assert (told["request_id"], told["status"], told["completion_time"]) == (ID, "running", None)
    assert told["storage_type"] == "s3"
    assert told["remote_path"] == f"outputs/{ID}"
    assert told["signed_url"].startswith(f"{CDN}/outputs/{ID}/*?Policy=")
    assert told["expires_at"]
    assert told["output_files"] == [
        {"path": f"{ID}/a.zarr/c/0", "size": 5},
        {"path": f"{ID}/a.zarr/zarr.json", "size": 5},
    ]
    assert told["datasets"] == [{"path": "a.zarr", "format": "zarr3", "group": ""}]
    assert (told["publication"]["files"], told["publication"]["bytes"]) == (2, 10)
    assert told["publication"]["manifest"] == partial_key(f"outputs/{ID}")


def test_files_may_be_left_out(partials, running, show):
    """As of a result."""
    show("a.zarr/c/0")
    told = json.loads(partials.describe(running, listed=False).to_json())
    assert (told["output_files"], told["publication"]["files"]) == ([], 1)


def test_a_list_is_read_once_a_second(partials, running, show, clock):
    """However many ask; then anew."""
    show("a")
    partials.describe(running)
    show("a", "b")
    clock.now += KEEP_SECONDS / 2
    assert partials.describe(running).metadata.publication.files == 1
    clock.now += KEEP_SECONDS
    assert partials.describe(running).metadata.publication.files == 2


def test_a_list_is_kept_no_longer_than_it_is_good_for(partials, records, running, show, clock):
    """It may be of a million files: the next who asks, for whatever execution, lets it go."""
    show("a")
    partials.describe(running)
    other = f"{ID[:-1]}2"
    records.insert(Execution(id=other, workflow_name="simulate", parameters={"n": 1}))
    show("b", execution=other, prefix=f"outputs/{other}")
    clock.now += KEEP_SECONDS
    partials.describe(records.change(other, expected=Status.QUEUED, to=Status.RUNNING, started_at=utc_now()))
    assert [place[0] for place in partials._kept] == [other]


def test_what_an_attempt_before_has_shown_is_nothing(partials, running, show):
    """It may be other than what the current one makes."""
    show("a", attempt=1)
    second = running.with_changes(attempt=2)
    with pytest.raises(NoResultsError):
        partials.describe(second)
    show(attempt=1)
    show("b", attempt=2, prefix=f"outputs/{ID}-2")
    found = partials.describe(second)

    assert found.metadata.remote_path == f"outputs/{ID}-2"
    assert json.loads(bytes(found.output_files)) == [{"path": f"{ID}/b", "size": 5}]


def test_it_begins_at_the_executions_own_place(partials, running, show):
    """Those before belong to workers that were given up."""
    show("a")
    with pytest.raises(NoResultsError):
        partials.describe(running.with_changes(place=2))


@pytest.mark.usefixtures("running")
def test_what_is_being_published_is_shown_until_the_end(partials, records, show):
    """And nobody is asked for more."""
    show("a")
    publishing = records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    assert partials.describe(publishing).metadata.partial
    assert not records.get(ID).partial_asked


def test_one_that_moves_on_meanwhile(partials, records, running):
    """It is described as the caller knows it, and not asked any more."""
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    with pytest.raises(NoResultsError):
        partials.describe(running)
    assert not records.get(ID).partial_asked


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_what_has_ended_shows_nothing(partials, running, show, status):
    """It has results, or none."""
    show("a")
    ended = running.with_changes(status=status)
    assert not partials.has(ended)
    with pytest.raises(NoResultsError):
        partials.describe(ended)


def test_what_the_api_serves_is_not_shown(records, running):
    """Its files may still be rewritten where they are."""
    with pytest.raises(NoResultsError, match="only results in object storage"):
        Partials(records, None, None, "").describe(running)
    assert not records.get(ID).partial_asked


def test_a_list_that_is_damaged(partials, running, store):
    """It is the store's failure, and not the client's."""
    store.put(partial_key(f"outputs/{ID}"), encode_manifest_of_nothing()[:20])
    with pytest.raises(StoreIoError):
        partials.describe(running)


def encode_manifest_of_nothing() -> bytes:
    """Return a manifest without rows."""
    about = {"execution": ID, "attempt": 1, "created_at": utc_now(), "verified": "crc64nvme", "datasets": ()}
    return encode_manifest(Manifest.of([], **about))
