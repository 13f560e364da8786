"""Handing results out."""

import pytest
from msgspec import Raw, json, structs

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH, InvalidPathError
from wildcast.contract.status import ExecutionStatus as Status
from wildcast.contract.wire import ResultMetadata
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import NoResultsError, NotFoundError, ServiceUnavailableError, StoreIoError
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.results import ROWS_OF_A_MANIFEST, Results, ServedFile, _Cache, _Contents

CDN = "https://cdn.example"


@pytest.fixture(scope="module")
def signer():
    """A signer of our own domain."""
    return CloudFrontSigner(CDN, "KTEST", keys.generate_private_key(), expires_in=60)


@pytest.fixture
def store():
    """A store in memory."""
    return open_store("memory://")


@pytest.fixture
def completed(bring_to, store):
    """A completed execution whose manifest lies in the store."""
    execution = bring_to("exec_1_00000001", Status.COMPLETED)
    commit(store, execution)
    return execution


def commit(store, execution):
    manifest = Manifest.of(
        [FileRow("a.txt", 5, "AAAAAAAAAAA=", '"e"', "text/plain")],
        execution=execution.id,
        attempt=1,
        created_at=utc_now(),
        verified="crc64nvme",
        datasets=(),
    )
    store.put(execution.published.publication.manifest, encode_manifest(manifest))


@pytest.fixture
def results(records, store, signer):
    """Results of object storage."""
    return Results(Lookup(records), {"s3": store}, signer)


def test_metadata_has_a_url_that_is_signed_now(results, completed):
    """The URL is for the publication's prefix, and the files begin with the execution's id."""
    metadata = decoded(results.describe(completed))
    assert metadata.signed_url.startswith(f"{CDN}/outputs/{completed.id}/*?")
    assert metadata.expires_at is not None
    assert [(file.path, file.size) for file in metadata.output_files] == [(f"{completed.id}/a.txt", 5)]
    assert metadata.remote_path == f"outputs/{completed.id}"


@pytest.mark.parametrize("path", ["a.txt", "exec_1_00000001/a.txt", MANIFEST_PATH])
def test_a_file_is_found_with_and_without_the_executions_id(results, completed, path):
    """Both forms, and the manifest, lead to a signed URL of that object alone."""
    link = results.file("simulate", completed.id, path)
    assert link.url.startswith(f"{CDN}/outputs/{completed.id}/{path.removeprefix(completed.id + '/')}?")


def test_a_file_that_the_manifest_lacks_is_not_found(results, completed, store):
    """The manifest decides, also about what lies in the store."""
    store.put(f"outputs/{completed.id}/extra.txt", b"x")
    for path in ("b.txt", "extra.txt", "a.txt/b"):
        with pytest.raises(NotFoundError):
            results.file("simulate", completed.id, path)


@pytest.mark.parametrize("path", ["", "..", "../a.txt", "/a.txt", "a.txt/", "exec_1_00000001/../a.txt"])
def test_a_path_that_is_none_is_refused(results, completed, path):
    """Nothing but plain relative paths is looked up."""
    with pytest.raises(InvalidPathError):
        results.file("simulate", completed.id, path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.QUEUED, "not there yet"),
        (Status.RUNNING, "not there yet"),
        (Status.PENDING_RESULTS, "not there yet"),
        (Status.FAILED, "it did not converge"),
        (Status.CANCELLED, "cancelled"),
    ],
)
def test_without_results_the_sentence_says_why(results, bring_to, status, words):
    """Each status has its reason, for the metadata and for a file."""
    execution = bring_to("exec_1_00000001", status)
    for ask in (results.describe, results.at_hand, lambda it: results.file("simulate", it.id, "a.txt")):
        with pytest.raises(NoResultsError, match=words) as caught:
            ask(execution)
        assert caught.value.status is status


def test_an_expired_result_says_what_to_do(results, records, completed):
    """Whoever comes too late is told to submit again."""
    expired = records.change(completed.id, expected=Status.COMPLETED, to=Status.EXPIRED)
    with pytest.raises(NoResultsError, match="submit the request again"):
        results.describe(expired)


def test_object_storage_that_is_off_now_is_named(records, completed, store):
    """What an earlier configuration published there is not lost: the sentence names the setting."""
    off = Results(Lookup(records), {"server": store}, None)
    for ask in (
        off.describe,
        lambda it: off.describe(it, listed=False),
        lambda it: off.file("simulate", it.id, "a.txt"),
    ):
        with pytest.raises(ServiceUnavailableError, match=r"object_storage\.enabled"):
            ask(completed)


def test_a_local_result_outlives_a_change_to_object_storage(records, bring_to, store, signer):
    """Published in place, it is served in place, and nothing is signed for it."""
    execution = bring_to("exec_1_00000001", Status.COMPLETED, storage_type="server")
    local = open_store("memory://")
    commit(local, execution)
    both = Results(Lookup(records), {"server": local, "s3": store}, signer)
    metadata = both.describe(execution).metadata
    assert (metadata.signed_url, metadata.remote_path, metadata.expires_at) == (None, None, None)
    assert both.file("simulate", execution.id, "a.txt") == ServedFile(local, f"outputs/{execution.id}/a.txt")


@pytest.mark.parametrize("data", [None, b"damaged"])
def test_a_lost_or_damaged_manifest_is_no_missing_file(results, completed, store, data):
    """A reader would take "not found" for a chunk that was never written."""
    key = completed.published.publication.manifest
    store.delete(key)
    if data:
        store.put(key, data)
    for ask in (results.describe, lambda it: results.file("simulate", it.id, "a.txt")):
        with pytest.raises(StoreIoError, match=completed.id):
            ask(completed)


def test_a_manifest_is_read_once(results, completed, store):
    """It never changes once it is committed."""
    assert not results.at_hand(completed)
    results.describe(completed)
    assert results.at_hand(completed)
    store.delete(completed.published.publication.manifest)
    assert decoded(results.describe(completed)).output_files


def test_without_its_files_a_result_needs_no_manifest(results, completed, store):
    """The record has all the rest, the publication's totals and a fresh URL included."""
    whole = decoded(results.describe(completed))
    store.delete(completed.published.publication.manifest)
    again = Results(results._lookup, results._stores, results._signer)
    short = decoded(again.describe(completed, listed=False))
    assert short.output_files == ()
    assert short.signed_url.partition("?")[0] == whole.signed_url.partition("?")[0]
    assert structs.replace(short, **changing(whole)) == whole


def test_what_a_user_wrote_is_never_taken_for_the_list_of_files(results, completed):
    """The list is put in its place, whatever the parameters look like."""
    tricky = completed.with_changes(parameters={"output_files": [], "x": '"output_files":[]'})
    metadata = decoded(results.describe(tricky))
    assert metadata.parameters == tricky.parameters
    assert [file.size for file in metadata.output_files] == [5]


def test_the_cache_is_bounded_by_rows():
    """What was asked for last stays; a manifest that alone is over the bound is not kept."""
    cache = _Cache(max_rows=5 + 2 * ROWS_OF_A_MANIFEST)
    for number in range(4):
        cache.put(("s3", str(number)), contents(2))
        cache.get(("s3", "0"))
    assert [number for number in range(4) if cache.get(("s3", str(number)))] == [0, 3]
    cache.put(("s3", "large"), contents(6 + 2 * ROWS_OF_A_MANIFEST))
    assert cache.get(("s3", "large")) is None


def test_the_cache_is_bounded_for_small_results_too():
    """Manifests of one file, or of none, are not kept without end; one that is put twice counts once."""
    cache = _Cache(max_rows=10 * (1 + ROWS_OF_A_MANIFEST))
    for number in range(100):
        for _ in range(2):
            cache.put(("s3", str(number)), contents(1))
    assert [number for number in range(100) if cache.get(("s3", str(number)))] == list(range(90, 100))


def decoded(description):
    return json.decode(description.to_json(), type=ResultMetadata)


def changing(metadata):
    return {name: getattr(metadata, name) for name in ("output_files", "signed_url", "expires_at")}


def contents(rows):
    files = [FileRow(str(number), 1, "", "", "") for number in range(rows)]
    about = {"execution": "e", "attempt": 1, "created_at": utc_now(), "verified": "local", "datasets": ()}
    return _Contents(Manifest.of(files, **about), frozenset(), Raw(b"[]"))
