"""Signing on request."""

import time

import pytest

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import InvalidPathError
from wildcast.contract.policy import b64_decode, parse_policy
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import NoResultsError, NotFoundError, ServiceUnavailableError, StatusConflictError
from wildcast_server.publish import Published
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.sign import Grant, Sign

ID = "exec_1_00000001"
CDN = "https://cdn.example"
PREFIX = f"{CDN}/outputs/{ID}"
PATHS = ("*", "a.zarr/c/0", "a.zarr/zarr.json", "b c.txt", "d/*")


@pytest.fixture(scope="module")
def signer():
    """A signer of our own domain, with signatures of a minute."""
    return CloudFrontSigner(CDN, "KTEST", keys.generate_private_key(), expires_in=60)


@pytest.fixture
def store():
    """A store in memory."""
    return open_store("memory://")


@pytest.fixture
def complete(records, store):
    """Complete an execution, with a manifest in the store."""

    def make(storage_type="s3"):
        rows = [FileRow(path, 1, "AAAAAAAAAAA=", '"e"', "") for path in PATHS]
        about = {"execution": ID, "attempt": 1, "created_at": utc_now(), "verified": "crc64nvme", "datasets": ()}
        manifest = Manifest.of(rows, **about)
        published = Published.of(manifest, f"outputs/{ID}", storage_type=storage_type)
        store.put(published.publication.manifest, encode_manifest(manifest))
        record = as_record(published, 1)
        records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
        records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
        records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
        return records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)

    return make


@pytest.fixture
def sign(records, store, signer):
    """The use case, over object storage."""
    lookup = Lookup(records)
    return Sign(lookup, Results(lookup, {"s3": store, "server": store}, signer), signer)


def policy_of(link):
    fields = dict(pair.partition("=")[::2] for pair in link.url.partition("?")[2].split("&"))
    return parse_policy(b64_decode(fields["Policy"]))


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (None, f"{PREFIX}/*"),
        (ID, f"{PREFIX}/*"),
        (f"{ID}/*", f"{PREFIX}/*"),
        ("a.zarr", f"{PREFIX}/a.zarr/*"),
        ("a.zarr/*", f"{PREFIX}/a.zarr/*"),
        (f"{ID}/a.zarr", f"{PREFIX}/a.zarr/*"),
        ("a.zarr/c", f"{PREFIX}/a.zarr/c/*"),
        ("a.zarr/zarr.json", f"{PREFIX}/a.zarr/zarr.json"),
        ("b c.txt", f"{PREFIX}/b%20c.txt"),
        (".wildcast/manifest.json.gz", f"{PREFIX}/.wildcast/manifest.json.gz"),
    ],
)
def test_a_url_grants_what_was_asked_for_and_no_more(sign, complete, path, resource):
    """The whole result, a directory or a file of it, with and without the execution's id."""
    complete()
    assert policy_of(sign("simulate", ID, Grant(path=path))).resource == resource


@pytest.mark.parametrize(
    "path", ["", "..", "../x", "/a.zarr", "a.zarr/", "a.zarr/../../x", "a.zarr/./c", f"{ID}/../x", "a\0"]
)
def test_a_path_that_leaves_the_publication_is_refused(sign, complete, path):
    """Nothing but plain relative paths is looked at."""
    complete()
    with pytest.raises(InvalidPathError):
        sign("simulate", ID, Grant(path=path))


@pytest.mark.parametrize(
    "path", ["b", "a", "a.zar", "a.zarr*", "a.?arr", "a.zarr/c/*/x", "b c.txt/*", "%2e%2e/x", "exec_1_0000000"]
)
def test_a_path_that_the_manifest_lacks_is_not_found(sign, complete, path):
    """What begins like a directory is none, and a wildcard stands for nothing but itself."""
    complete()
    with pytest.raises(NotFoundError):
        sign("simulate", ID, Grant(path=path))


def test_lifetime_and_network_are_as_asked_for(sign, complete):
    """Both are in the policy; without them the signer's own time, and any network."""
    complete()
    link = sign("simulate", ID, Grant(expires_in=600, ip="192.0.2.0/24"))
    policy = policy_of(link)
    assert policy.ip == "192.0.2.0/24"
    assert abs(policy.expires - time.time() - 600) < 30
    assert link.expires_at == policy.expires_at
    plain = policy_of(sign("simulate", ID, Grant()))
    assert (plain.ip, abs(plain.expires - time.time() - 60) < 30) == (None, True)


def test_cookies_open_a_directory(sign, complete):
    """They say for which host and path they are."""
    complete()
    cookies = sign("simulate", ID, Grant(path="a.zarr", kind="cookies"))
    assert (cookies.domain, cookies.path) == ("cdn.example", f"/outputs/{ID}/a.zarr/")
    assert parse_policy(b64_decode(cookies.cookies["CloudFront-Policy"])).resource == f"{PREFIX}/a.zarr/*"


def test_cookies_for_a_file_are_refused(sign, complete):
    """They would open what lies below it, which is nothing."""
    complete()
    with pytest.raises(StatusConflictError, match="ask for a url"):
        sign("simulate", ID, Grant(path="a.zarr/zarr.json", kind="cookies"))


def test_what_this_server_sends_itself_is_not_signed(sign, complete):
    """The sentence says where its files are."""
    complete("server")
    with pytest.raises(StatusConflictError, match="…/results"):
        sign("simulate", ID, Grant())


def test_object_storage_that_is_off_now_is_named(sign, complete):
    """The result is not lost: the sentence names the setting."""
    complete()
    with pytest.raises(ServiceUnavailableError, match=r"object_storage\.enabled"):
        Sign(sign.lookup, sign.results, None)("simulate", ID, Grant())


def test_what_has_no_results_is_not_signed(sign, records):
    """Before the end it is a conflict, and after one without results it is what the results say."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    with pytest.raises(StatusConflictError, match="is queued"):
        sign("simulate", ID, Grant())
    records.change(ID, expected=Status.QUEUED, to=Status.FAILED, error_message="it did not converge")
    with pytest.raises(NoResultsError, match="did not converge"):
        sign("simulate", ID, Grant())


def test_the_whole_result_needs_no_manifest(sign, complete, store):
    """It is signed although the store cannot be read."""
    store.delete(complete().published.publication.manifest)
    assert sign("simulate", ID, Grant()).url.startswith(f"{PREFIX}/*?")
