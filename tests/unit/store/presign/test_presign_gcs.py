"""Presigned URLs of Google Cloud Storage: their signatures, made again by another, and our own requests."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from obstore.store import GCSStore

from wildcast_server.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    MultipartError,
    NetworkError,
    NoSuchBucketError,
    PresignError,
    StoreIoError,
)
from wildcast_server.store import PresignedUrl, StoreOptions, open_presigner
from wildcast_server.store._presign_gcs import GcsPresigner, service_account

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
PARTS = {2: b" second", 1: b"first"}


def google(account: str, options: StoreOptions | None = None, **environ: str) -> GcsPresigner:
    return GcsPresigner(
        "gs://bucket/base", options or StoreOptions(), {"GOOGLE_SERVICE_ACCOUNT_KEY": account, **environ}
    )


def check_google(signed: PresignedUrl, key: rsa.RSAPrivateKey) -> None:
    """Verify a signature from the URL alone, as Google does; raise if it is wrong."""
    parts = urlsplit(signed.url)
    query, _, signature = parts.query.partition("&X-Goog-Signature=")
    given_ = parse_qs(query)
    headers = {"host": parts.netloc, **{name.lower(): value for name, value in signed.headers.items()}}
    names = given_["X-Goog-SignedHeaders"][0].split(";")
    lines = [f"{name}:{headers[name]}" for name in names]
    canonical = "\n".join([signed.method, parts.path, query, *lines, "", ";".join(names), "UNSIGNED-PAYLOAD"])
    date, credential = given_["X-Goog-Date"][0], given_["X-Goog-Credential"][0]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    message = f"GOOG4-RSA-SHA256\n{date}\n{credential.partition('/')[2]}\n{digest}"
    key.public_key().verify(bytes.fromhex(signature), message.encode(), PKCS1v15(), SHA256())
    assert query.split("&") == sorted(query.split("&"))


def test_google_urls_verify(account, google_key, odd_key):
    """GET, PUT with a type, and a part, by the account's public key."""
    presigner = google(account)
    kinds = [
        presigner.presign_get(odd_key, HOUR),
        presigner.presign_put(odd_key, HOUR, content_type="text/plain"),
        presigner.presign_part(odd_key, "up/load+id==", 3, HOUR),
    ]
    for signed in kinds:
        check_google(signed, google_key)
        assert signed.url.startswith("https://storage.googleapis.com/bucket/base/")


def test_google_urls_are_those_of_another_implementation(account, monkeypatch):
    """RSA signatures have no randomness: at the same second, obstore makes the same URL."""
    driver = GCSStore("bucket", config={"service_account_key": account})
    theirs = obstore.sign(driver, "GET", "base/some key/with~tilde.nc", HOUR)
    date = datetime.strptime(parse_qs(urlsplit(theirs).query)["X-Goog-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr("wildcast_server.store.presign.time.time", date.timestamp)
    assert google(account).presign_get("some key/with~tilde.nc", HOUR).url == theirs


def test_google_writes_carry_class_and_tags(account, google_key):
    """As the store's own writes do: the holder sends them, and they are signed."""
    options = StoreOptions(storage_class="NEARLINE", tags={"project": "climate"})
    signed = google(account, options).presign_put("k", HOUR)
    assert signed.headers == {"x-goog-storage-class": "NEARLINE", "x-goog-meta-project": "climate"}
    check_google(signed, google_key)


def test_google_grants_a_week(account):
    """Seven days are signed, more is refused."""
    assert "X-Goog-Expires=604800&" in google(account).presign_get("k", WEEK).url
    with pytest.raises(PresignError, match="7 days"):
        google(account).presign_get("k", WEEK + timedelta(seconds=1))


def test_without_a_key_google_signs_nothing(tmp_path):
    """The sentence says which variables to set; an unreadable key is not quoted."""
    (tmp_path / "bad.json").write_text('{"private_key": "canary-secret"}')
    for environ in ({}, {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "bad.json")}):
        presigner = GcsPresigner("gs://bucket", StoreOptions(), environ)
        with pytest.raises(PresignError, match="GOOGLE_SERVICE_ACCOUNT_KEY") as caught:
            presigner.presign_get("k", HOUR)
        assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_key_may_be_in_a_file(tmp_path, account):
    """As Google's libraries look for it; its repr has no key."""
    (tmp_path / "key.json").write_text(account)
    found = service_account({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}, "gs://b")
    assert "rsa" not in repr(found).lower()
    assert found.email == "me@project.iam"


def test_google_uploads_are_begun_and_ended_with_a_token(account, google_key, recorder):
    """Create, complete, abort: the XML API's requests, with a token that the account signed for itself."""
    recorder.answers = [
        (200, b"<InitiateMultipartUploadResult><UploadId>u&amp;1</UploadId></InitiateMultipartUploadResult>", {}),
        (200, b"<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>", {}),
        (204, b"", {}),
    ]
    presigner = google(account, StoreOptions(endpoint_url=recorder.url))
    upload = presigner.create_multipart("a b", content_type="image/png")
    etag = presigner.complete_multipart("a b", upload, {2: "bare", 1: '"quoted"'})
    presigner.abort_multipart("a b", upload)
    assert (upload, etag) == ("u&1", '"e-2"')
    created, completed, aborted = recorder.requests
    assert created[:2] == ("POST", "/bucket/base/a%20b?uploads=")
    assert (created[2]["Content-Type"], created[2]["Content-Length"]) == ("image/png", "0")
    assert completed[:2] == ("POST", "/bucket/base/a%20b?uploadId=u%261")
    assert b"<PartNumber>1</PartNumber><ETag>&quot;quoted&quot;</ETag>" in completed[3]
    assert b"<PartNumber>2</PartNumber><ETag>bare</ETag>" in completed[3]
    assert aborted[:2] == ("DELETE", "/bucket/base/a%20b?uploadId=u%261")
    for _, _, headers, _ in recorder.requests:
        check_token(headers["Authorization"], google_key)


def check_token(header: str, key: rsa.RSAPrivateKey) -> None:
    """Verify a self-signed token (Google AIP-4111)."""
    signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
    head, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), signed.encode(), PKCS1v15(), SHA256())
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "kid"}
    assert claims["iss"] == claims["sub"] == "me@project.iam"
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"<Error><Code>NoSuchUpload</Code></Error>", MultipartError),
        (400, b"<Error><Code>InvalidPart</Code></Error>", MultipartError),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", NoSuchBucketError),
        (403, b"<Error><Code>AccessDenied</Code></Error>", AccessDeniedError),
        (503, b"<Error><Code>SlowDown</Code></Error>", NetworkError),
        (200, b"<Error><Code>InternalError</Code></Error>", NetworkError),
        (307, b"", StoreIoError),
    ],
)
@pytest.mark.parametrize("service", ["gs", "s3"])
def test_refusals_become_our_errors(service, account, recorder, status, body, error):
    """Each with the object's URI, and without anything that was signed."""
    recorder.answers = [(status, body, {"Location": "http://127.0.0.1:9/"})]
    options = StoreOptions(endpoint_url=recorder.url, max_retries=0)
    presigner = google(account, options) if service == "gs" else open_presigner("s3://bucket", options)
    with pytest.raises(error) as caught:
        presigner.complete_multipart("k", "upload", {1: "e"})
    assert caught.value.uri == f"{presigner.uri}/k"
    assert "Bearer" not in str(caught.value)
    assert len(recorder.requests) == 1


def test_expired_credentials_that_nobody_renews_are_told_at_once(recorder):
    """Trying again with the same ones would only take time."""
    recorder.answers = [(400, b"<Error><Code>ExpiredToken</Code></Error>", {})]
    options = StoreOptions(endpoint_url=recorder.url, access_key_id="a", secret_access_key="b", session_token="c")
    with pytest.raises(CredentialsExpiredError):
        open_presigner("s3://bucket", options).create_multipart("k")
    assert len(recorder.requests) == 1


def test_a_failure_that_passes_is_tried_again(account, recorder):
    """With a new token each time."""
    created = b"<R><UploadId>u</UploadId></R>"
    recorder.answers = [(500, b"", {}), (200, created, {})]
    assert google(account, StoreOptions(endpoint_url=recorder.url)).create_multipart("k") == "u"
    assert len(recorder.requests) == 2


def test_a_holder_sends_the_parts_of_a_google_upload(request, account, ask):
    """Create, send by URL, complete: on the server that the store's own tests use."""
    bucket = request.getfixturevalue("google")
    presigner = google(account, STORAGE_EMULATOR_HOST=bucket.url)
    upload = presigner.create_multipart("a b")
    parts = {n: ask(presigner.presign_part("a b", upload, n, HOUR), body)[1]["ETag"] for n, body in PARTS.items()}
    presigner.complete_multipart("a b", upload, parts)
    assert ask(presigner.presign_get("a b", HOUR))[0] == b"first second"
    ask(presigner.presign_put("small", HOUR), b"body")
    assert ask(presigner.presign_get("small", HOUR))[0] == b"body"
