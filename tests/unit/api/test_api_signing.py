"""Signing over HTTP; and pages of a result's files, and its manifest."""

import gzip
import logging
from dataclasses import replace

import pytest

from wildcast.contract.manifest import FileRow, Manifest, decode_manifest, encode_manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.publish import Published
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.sign import MAX_SECONDS, Sign

ID = "exec_1_00000001"
URL = f"/v1/infer/results/{ID}"
FILES = 7


@pytest.fixture
def store():
    """A store in memory."""
    return open_store("memory://")


@pytest.fixture
def complete(records, store):
    """Complete an execution, with a manifest in the store."""

    def make(name):
        rows = [FileRow(f"a.zarr/c/{number}", number, "AAAAAAAAAAA=", '"e"', "") for number in range(FILES)]
        about = {"execution": name, "attempt": 1, "created_at": utc_now(), "verified": "crc64nvme", "datasets": ()}
        published = Published.of(Manifest.of(rows, **about), f"outputs/{name}")
        store.put(published.publication.manifest, encode_manifest(Manifest.of(rows, **about)))
        records.insert(Execution(id=name, workflow_name="results", parameters={}))
        records.change(name, expected=Status.QUEUED, to=Status.RUNNING)
        records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
        ended = {"ended_at": utc_now(), "published": as_record(published, 1)}
        records.change(name, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, **ended)

    return make


@pytest.fixture
def cdn(use_cases, serve, store, complete):
    """The API over a completed execution in object storage."""
    complete(ID)
    signer = CloudFrontSigner("https://cdn.example", "KTEST", keys.generate_private_key(), expires_in=60)
    results = Results(use_cases.lookup, {"s3": store}, signer)
    return serve(replace(use_cases, results=results, sign=Sign(use_cases.lookup, results, signer)))


def sign(api, **body):
    return api.post(f"{URL}/sign", json=body)


def test_a_url_and_when_it_ends(cdn):
    """For all, and for a part; never kept by a cache."""
    for body, resource in (({}, f"outputs/{ID}/*"), ({"path": "a.zarr/c/0"}, f"outputs/{ID}/a.zarr/c/0")):
        answer = sign(cdn, **body)
        assert answer.status_code == 200
        assert answer.json()["url"].startswith(f"https://cdn.example/{resource}?Policy=")
        assert answer.json()["expires_at"].endswith("Z")
        assert answer.headers["cache-control"] == "no-store"


def test_cookies_with_their_domain_and_path(cdn):
    """What a browser or a downloader has to be told of them."""
    body = sign(cdn, kind="cookies").json()
    assert (body["domain"], body["path"], body["url"]) == ("cdn.example", f"/outputs/{ID}/", None)
    assert set(body["cookies"]) == {"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"}


REFUSED = [
    ({"expires_in": 0}, 422),
    ({"expires_in": MAX_SECONDS + 1}, 422),
    ({"expires_in": 1.5}, 422),
    ({"expires_in": True}, 422),
    ({"expires_in": "60"}, 422),
    ({"ip": "::1"}, 422),
    ({"ip": "192.0.2.1/33"}, 422),
    ({"ip": "192.0.2.256"}, 422),
    ({"ip": "192.0.2.0/255.255.255.0"}, 422),
    ({"ip": "٣.0.2.1"}, 422),
    ({"kind": "both"}, 422),
    ({"paths": []}, 422),
    ({"path": "../x"}, 400),
    ({"path": "a.zarr/%2e%2e/x"}, 404),
    ({"path": "b.zarr"}, 404),
    ({"path": "\x00"}, 400),
    ({"path": "a.zarr/c/0", "kind": "cookies"}, 409),
]


def test_what_cannot_be_signed_is_refused(cdn):
    """With a sentence, and nothing that opens anything."""
    for body, status in REFUSED:
        answer = sign(cdn, **body)
        assert answer.status_code == status, body
        assert "Signature" not in answer.text


def test_the_longest_and_the_shortest_are_signed(cdn):
    """The bounds are included."""
    assert [sign(cdn, expires_in=seconds).status_code for seconds in (1, MAX_SECONDS)] == [200, 200]


def test_no_signature_is_logged(cdn, caplog):
    """At no level: who reads the log may not read the result."""
    with caplog.at_level(logging.DEBUG):
        signature = sign(cdn).json()["url"].partition("Signature=")[2].partition("&")[0]
    assert len(signature) > 100
    assert signature not in caplog.text


@pytest.mark.usefixtures("published")
def test_a_result_of_this_server_is_409(api):
    """It needs no signature, and the sentence says so."""
    answer = sign(api)
    assert answer.status_code == 409
    assert "asks for no signature" in answer.json()["error"]


def test_before_the_end_there_is_nothing_to_sign(api, records):
    """409, and no 202: nothing has been taken on that would be done later."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    assert sign(api).status_code == 409


@pytest.mark.parametrize("limit", [1, 3, FILES, 100])
def test_pages_of_files_are_all_files(cdn, limit):
    """In the manifest's order, each once; the last page has no cursor."""
    whole = cdn.get(f"{URL}/results").json()
    found, query = [], {"files_limit": limit}
    for _ in range(FILES + 1):
        page = cdn.get(f"{URL}/results", params=query).json()
        assert len(page["output_files"]) <= limit
        found += page["output_files"]
        query["files_cursor"] = page["next_files_cursor"]
        if page["next_files_cursor"] is None:
            break
    assert found == whole["output_files"]
    assert len(found) == FILES
    assert whole["next_files_cursor"] is None


def test_a_page_is_the_rest_of_the_metadata_as_well(cdn):
    """A cursor alone does, and a page without any files is one, too."""
    whole = cdn.get(f"{URL}/results").json()
    page = cdn.get(f"{URL}/results", params={"files_limit": 2}).json()
    changing = {"output_files", "next_files_cursor", "signed_url", "expires_at", "execution_time_seconds"}
    assert {key: page[key] for key in page.keys() - changing} == {key: whole[key] for key in whole.keys() - changing}
    rest = cdn.get(f"{URL}/results", params={"files_cursor": page["next_files_cursor"]}).json()
    assert page["output_files"] + rest["output_files"] == whole["output_files"]
    none = cdn.get(f"{URL}/results", params={"files_limit": 2, "files": "none"}).json()
    assert (none["output_files"], none["next_files_cursor"]) == ([], None)


def test_a_cursor_of_other_files_is_refused(cdn, complete):
    """Those of another execution may lie in another order."""
    cursor = cdn.get(f"{URL}/results", params={"files_limit": 2}).json()["next_files_cursor"]
    complete("exec_1_00000002")
    for url, text in (("/v1/infer/results/exec_1_00000002/results", cursor), (f"{URL}/results", "x")):
        answer = cdn.get(url, params={"files_cursor": text})
        assert answer.status_code == 422
        assert "files_cursor" in answer.json()["error"]
    for limit in (0, 10_001):
        assert cdn.get(f"{URL}/results", params={"files_limit": limit}).status_code == 422


def test_the_manifest_comes_as_it_lies_there(cdn, store):
    """Gzipped for who takes that, with an ETag of its own, and nothing for who has it."""
    stored = store.get(f"outputs/{ID}/.wildcast/manifest.json.gz")
    with cdn.stream("GET", f"{URL}/manifest", headers={"Accept-Encoding": "zstd, gzip"}) as answer:
        assert b"".join(answer.iter_raw()) == stored
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "application/json"
    plain = cdn.get(f"{URL}/manifest", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == gzip.decompress(stored)
    assert decode_manifest(stored).files == FILES == len(plain.json()["rows"])
    assert plain.headers["etag"] != answer.headers["etag"]
    for each in (plain, answer):
        known = {"If-None-Match": each.headers["etag"], "Accept-Encoding": each.request.headers["accept-encoding"]}
        assert cdn.get(f"{URL}/manifest", headers=known).status_code == 304
        assert each.headers["vary"] == "Accept-Encoding"
    head = cdn.head(f"{URL}/manifest", headers={"Accept-Encoding": "identity"})
    assert int(head.headers["content-length"]) == len(plain.content)


def test_another_manifest_than_the_one_that_is_wanted_is_412(cdn):
    """As for any file."""
    assert cdn.get(f"{URL}/manifest", headers={"If-Match": '"other"'}).status_code == 412


@pytest.mark.parametrize("data", [None, b"damaged"])
def test_a_manifest_that_is_lost_or_damaged_is_502(cdn, store, data):
    """It never reads as a result without files."""
    key = f"outputs/{ID}/.wildcast/manifest.json.gz"
    store.delete(key)
    if data is not None:
        store.put(key, data)
    assert cdn.get(f"{URL}/manifest", headers={"Accept-Encoding": "identity"}).status_code == 502


def test_a_manifest_of_what_is_to_come_is_202(api, records):
    """And of what failed 404, as its results are."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    answer = api.get(f"{URL}/manifest")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    records.change(ID, expected=Status.QUEUED, to=Status.FAILED, error_message="no")
    assert api.get(f"{URL}/manifest").status_code == 404
