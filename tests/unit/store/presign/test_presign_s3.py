"""Presigned URLs of S3: that their holder can use them, how long, and that they stay secret."""

import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from wildcast_server.errors import (
    InvalidKeyError,
    InvalidUriError,
    MultipartError,
    NetworkError,
    NoSuchBucketError,
    PresignError,
    UnsupportedError,
)
from wildcast_server.store import PresignedUrl, Presigner, StoreOptions, open_presigner, open_store
from wildcast_server.store._presign_s3 import S3Presigner
from wildcast_server.store._s3_credentials import Credentials, CredentialSource
from wildcast_server.store._s3_site import S3Site

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
PART = 5 << 20
ODD_KEYS = ["plain", "a b/c+d", "100%/ü~", "日本/図.nc", "'q' \"d\"", "x&y=z;w,v", "a!*()@:$"]


def ask(signed: PresignedUrl, body: bytes | None = None) -> tuple[bytes, Message]:
    """Do what a holder does who has nothing but the URL and the headers that came with it."""
    typed = signed.headers if body is None else {"Content-Type": "", **signed.headers}
    asked = urllib.request.Request(signed.url, body, dict(typed), method=signed.method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read(), answer.headers


@pytest.fixture
def s3(bucket: str, s3_endpoint: str) -> Presigner:
    """Signs URLs of a fresh bucket, below a prefix."""
    return open_presigner(f"s3://{bucket}/base", StoreOptions(endpoint_url=s3_endpoint, max_retries=0))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_holder_puts_and_gets_through_s3_urls(s3, key):
    """What goes in through one URL comes out of the other, whatever the key looks like."""
    ask(s3.presign_put(key, HOUR), b"body")
    assert ask(s3.presign_get(key, HOUR))[0] == b"body"


def test_a_put_urls_content_type_is_kept(s3):
    """The type that was signed is the type that the object gets."""
    signed = s3.presign_put("k", 60, content_type="application/x-netcdf")
    assert signed.headers == {"Content-Type": "application/x-netcdf"}
    ask(signed, b"body")
    assert ask(s3.presign_get("k", 60))[1]["Content-Type"] == "application/x-netcdf"


@pytest.mark.parametrize("bare", [False, True], ids=["quoted", "bare"])
def test_a_holder_sends_the_parts_of_an_s3_upload(s3, s3_endpoint, bare):
    """Create, send by URL, complete: ETags with or without quotes make the object, parts in order of their numbers."""
    upload = s3.create_multipart("large", content_type="image/png")
    bodies = {2: b"tail", 1: b"x" * PART}
    parts = {
        number: ask(s3.presign_part("large", upload, number, HOUR), body)[1]["ETag"] for number, body in bodies.items()
    }
    etag = s3.complete_multipart("large", upload, {n: e.strip('"') if bare else e for n, e in parts.items()})
    assert etag is not None
    assert etag.strip('"').endswith("-2")
    stored = open_store(s3.uri, StoreOptions(endpoint_url=s3_endpoint))
    assert stored.get("large") == bodies[1] + bodies[2]
    assert ask(s3.presign_get("large", HOUR))[1]["Content-Type"] == "image/png"


def test_an_aborted_s3_upload_is_gone(s3, s3_endpoint):
    """The store has it while it is unfinished, and not when it was aborted; a second time does nothing."""
    store = open_store(s3.uri, StoreOptions(endpoint_url=s3_endpoint))
    upload = s3.create_multipart("k")
    assert [unfinished.id for unfinished in store.unfinished_uploads("")] == [upload]
    s3.abort_multipart("k", upload)
    s3.abort_multipart("k", upload)
    assert list(store.unfinished_uploads("")) == []


def test_wrong_parts_make_no_s3_object(s3):
    """An ETag that the store did not give fails the completion."""
    upload = s3.create_multipart("k")
    ask(s3.presign_part("k", upload, 1, HOUR), b"x")
    with pytest.raises(MultipartError):
        s3.complete_multipart("k", upload, {1: '"0123456789abcdef0123456789abcdef"'})


def test_a_missing_bucket_is_told(s3_endpoint):
    """Beginning an upload into nothing names the bucket."""
    nowhere = open_presigner("s3://no-such-bucket-here", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises(NoSuchBucketError):
        nowhere.create_multipart("k")


def test_an_endpoint_that_is_down_is_a_network_error():
    """After the deadline for retries."""
    down = open_presigner("s3://bucket", StoreOptions(endpoint_url="http://127.0.0.1:9", max_retries=0))
    with pytest.raises(NetworkError):
        down.create_multipart("k")


@dataclass
class Handing(CredentialSource):
    """Hands out what it is told to."""

    credentials: Credentials

    def __call__(self) -> Credentials:
        return self.credentials


def signing(options: StoreOptions | None = None, *, bucket: str = "bucket", **named: object) -> S3Presigner:
    """Sign with credentials of the test's own, for an endpoint that is never spoken to."""
    options = options or StoreOptions(region="eu-central-1")
    credentials = Handing(Credentials("AKIDEXAMPLE", "canary-secret", named.get("token"), named.get("expires_at")))
    service = options.endpoint_url or "https://s3.eu-central-1.amazonaws.com"
    return S3Presigner(
        f"s3://{bucket}", options, S3Site(bucket, service, options.use_virtual_addressing, options, credentials)
    )


def as_botocore_signs(signed: PresignedUrl, token: str | None = None) -> str:
    """Sign the same request again with another implementation, at the same moment; return the signature."""
    parts = urlsplit(signed.url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    plain = {name: value for name, value in query.items() if not name.startswith("X-Amz-")}
    again = AWSRequest(
        signed.method, f"{parts.scheme}://{parts.netloc}{parts.path}", params=plain, headers=dict(signed.headers)
    )
    signer = S3SigV4QueryAuth(
        BotoCredentials("AKIDEXAMPLE", "canary-secret", token), "s3", "eu-central-1", int(query["X-Amz-Expires"])
    )
    again.context["timestamp"] = query["X-Amz-Date"]
    again.context["signing"] = {}
    signer._modify_request_before_signing(again)
    canonical = signer.canonical_request(again)
    return signer.signature(signer.string_to_sign(again, canonical), again)


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("token", [None, "session/token+="])
def test_s3_signatures_are_those_of_another_implementation(key, token):
    """Each kind of request gets the signature that botocore gives it, byte for byte."""
    presigner = signing(token=token)
    kinds = [
        presigner.presign_get(key, HOUR),
        presigner.presign_put(key, HOUR, content_type="text/plain; charset=utf-8"),
        presigner.presign_part(key, "up/load+id==", 17, HOUR),
    ]
    for signed in kinds:
        assert parse_qs(urlsplit(signed.url).query)["X-Amz-Signature"] == [as_botocore_signs(signed, token)]


def test_the_documented_example_is_signed_as_documented(monkeypatch):
    """Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters", at the end."""
    begun = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
    monkeypatch.setattr("wildcast_server.store.presign.time.time", lambda: begun)
    options = StoreOptions(use_virtual_addressing=True)
    credentials = Handing(Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
    site = S3Site("examplebucket", "https://s3.amazonaws.com", virtual=True, options=options, credentials=credentials)
    signed = S3Presigner("s3://examplebucket", options, site).presign_get("test.txt", timedelta(days=1))
    assert signed.url.startswith("https://examplebucket.s3.amazonaws.com/test.txt?")
    assert signed.url.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    assert signed.expires_at == datetime(2013, 5, 25, tzinfo=UTC)


def test_what_every_object_gets_is_signed_into_a_put():
    """Encryption, storage class and tags of the options are headers that the holder has to send."""
    options = StoreOptions(
        region="eu-central-1",
        sse="aws:kms",
        sse_kms_key_id="key",
        storage_class="STANDARD_IA",
        tags={"team": "a b"},
    )
    signed = signing(options).presign_put("k", HOUR)
    names = parse_qs(urlsplit(signed.url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert {name.lower() for name in signed.headers} | {"host"} == set(names)
    assert signed.headers["x-amz-tagging"] == "team=a%20b"
    assert parse_qs(urlsplit(signed.url).query)["X-Amz-Signature"] == [as_botocore_signs(signed)]


def test_addressing_follows_the_options():
    """Path or host, with any port, as the store itself is spoken to."""
    path = signing(StoreOptions(endpoint_url="https://minio.example.org:9000")).presign_get("k", HOUR)
    assert path.url.startswith("https://minio.example.org:9000/bucket/k?")
    virtual = StoreOptions(endpoint_url="https://minio.example.org:9000", use_virtual_addressing=True)
    assert signing(virtual).presign_get("k", HOUR).url.startswith("https://bucket.minio.example.org:9000/k?")


def test_acceleration_falls_back_where_it_cannot_be(caplog):
    """A proxy that nobody answers at keeps the accelerated endpoint away: the normal one, and one warning."""
    options = StoreOptions(region="eu-central-1", acceleration=True, proxy_url="http://127.0.0.1:9", retry_deadline=0.0)
    presigner = signing(options)
    for _ in range(2):
        assert presigner.presign_get("k", HOUR).url.startswith("https://s3.eu-central-1.amazonaws.com/bucket/k?")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "signature" not in caplog.text.lower()


@pytest.mark.parametrize("bucket", ["my.dotted.bucket"])
def test_acceleration_is_not_for_dotted_buckets(bucket):
    """No certificate would match such a host."""
    options = StoreOptions(region="eu-central-1", acceleration=True)
    assert "accelerate" not in signing(options, bucket=bucket).presign_get("k", HOUR).url


def test_a_week_is_the_most_that_s3_grants():
    """Seven days are signed; a second more is refused, and the sentence says what to do."""
    assert "X-Amz-Expires=604800&" in signing().presign_get("k", WEEK).url
    with pytest.raises(PresignError, match="7 days") as caught:
        signing().presign_get("k", WEEK + timedelta(seconds=1))
    assert caught.value.uri == "s3://bucket/k"


@pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan"), float("inf")])
def test_a_lifetime_is_a_second_at_least(seconds):
    """What is none is refused."""
    with pytest.raises(PresignError):
        signing().presign_get("k", seconds)


def test_a_url_ends_with_the_credentials():
    """Asked for an hour with credentials that live ten minutes: ten minutes, and it says so."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    signed = signing(token="t", expires_at=ends).presign_get("k", HOUR)
    assert signed.expires_at == ends
    assert 590 <= int(parse_qs(urlsplit(signed.url).query)["X-Amz-Expires"][0]) <= 600


def test_ended_credentials_sign_nothing():
    """A URL that nobody could use is not handed out."""
    ended = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(PresignError, match="credentials have ended"):
        signing(token="t", expires_at=ended).presign_get("k", HOUR)


def test_no_credentials_sign_nothing():
    """And the error is about signing."""

    class Missing(CredentialSource):
        def __call__(self) -> Credentials:
            raise LookupError("set AWS_ACCESS_KEY_ID")

    site = S3Site("bucket", "https://s3.amazonaws.com", virtual=False, options=StoreOptions(), credentials=Missing())
    with pytest.raises(PresignError, match="AWS_ACCESS_KEY_ID"):
        S3Presigner("s3://bucket", StoreOptions(), site).presign_get("k", HOUR)


def test_renewed_credentials_sign_from_then_on():
    """The signer asks for credentials each time."""
    presigner = signing()
    first = presigner.presign_get("k", HOUR).url
    presigner._plain.credentials.credentials = Credentials("AKIDOTHER", "another-secret")
    second = presigner.presign_get("k", HOUR).url
    assert "AKIDEXAMPLE" in first
    assert "AKIDOTHER" in second


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_have_bounds(number):
    """One to ten thousand."""
    with pytest.raises(MultipartError, match="1 to 10,000"):
        signing().presign_part("k", "upload", number, HOUR)


def test_an_upload_of_no_parts_is_refused():
    """Before anything is sent."""
    with pytest.raises(MultipartError, match="no parts"):
        signing().complete_multipart("k", "upload", {})


def test_a_presigned_url_is_not_printed():
    """Its repr has neither signature nor query; str gives all."""
    signed = signing(token="session-canary").presign_get("k", HOUR)
    assert repr(signed).startswith("PresignedUrl(GET https://s3.eu-central-1.amazonaws.com/bucket/k?…, until ")
    assert "Signature" not in repr(signed)
    assert str(signed) == signed.url
    assert "session-canary" in signed.url


@pytest.mark.parametrize("uri", ["http://x/y", "ftp://x", "s3:/bucket", "bucket", "", "s3://", "file://relative"])
def test_other_uris_are_refused(uri):
    """Only what can be signed is opened."""
    with pytest.raises(InvalidUriError) as caught:
        open_presigner(uri)
    assert caught.value.uri == uri


def test_memory_has_no_urls():
    """Nobody else could read it."""
    with pytest.raises(UnsupportedError):
        open_presigner("memory://")


@pytest.mark.parametrize("key", ["", "/a", "a/../b", "a//b", "n" * 1025])
def test_presigned_keys_are_checked(key, tmp_path):
    """No URL leads out of the prefix."""
    for presigner in (signing(), open_presigner(tmp_path.as_uri())):
        with pytest.raises(InvalidKeyError):
            presigner.presign_get(key, HOUR)
