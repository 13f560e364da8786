"""Presigned URLs of Google Cloud Storage and Azure: their signatures, made again by another, and our own requests."""

import base64
import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from obstore.store import GCSStore

from wildcast_server.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    InvalidUriError,
    MultipartError,
    NetworkError,
    NoSuchBucketError,
    PresignError,
    StoreIoError,
)
from wildcast_server.store import PresignedUrl, StoreOptions, open_presigner
from wildcast_server.store._presign_azure import AzurePresigner
from wildcast_server.store._presign_gcs import GcsPresigner, service_account

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
ODD_KEYS = ["plain", "a b/c+d", "100%/ü~", "日本/図.nc", "'q' \"d\"", "x&y=z;w,v", "a!*()@:$"]
PARTS = {2: b" second", 1: b"first"}


def ask(signed: PresignedUrl, body: bytes | None = None) -> tuple[bytes, Message]:
    """Do what a holder does who has nothing but the URL and the headers that came with it."""
    typed = signed.headers if body is None else {"Content-Type": "", **signed.headers}
    asked = urllib.request.Request(signed.url, body, dict(typed), method=signed.method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read(), answer.headers


@dataclass
class Recorder:
    """What a loopback server was sent, and what it answers."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Answer with what was prepared, in order, and else with 200 and nothing."""
    seen = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def _record(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.requests.append((self.command, self.path, dict(self.headers), body))
            status, answer, headers = seen.answers.pop(0) if seen.answers else (200, b"", {})
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_DELETE = _record  # noqa: N815 - the library's names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield seen
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def google_key() -> rsa.RSAPrivateKey:
    """A service account's key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def account(google_key) -> str:
    """The key as Google hands it out."""
    pem = google_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"client_email": "me@project.iam", "private_key": pem, "private_key_id": "kid"})


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


@pytest.mark.parametrize("key", ODD_KEYS)
def test_google_urls_verify(account, google_key, key):
    """GET, PUT with a type, and a part, by the account's public key."""
    presigner = google(account)
    kinds = [
        presigner.presign_get(key, HOUR),
        presigner.presign_put(key, HOUR, content_type="text/plain"),
        presigner.presign_part(key, "up/load+id==", 3, HOUR),
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


AZURE_KEY = base64.b64encode(b"canary of an account key").decode()


@pytest.fixture
def azure(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AzurePresigner:
    """Signs with an account's key, for the recording server."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    opened = open_presigner("az://container/base", StoreOptions(endpoint_url=f"{recorder.url}/account"))
    assert isinstance(opened, AzurePresigner)
    return opened


def check_azure(signed: PresignedUrl, permission: str) -> None:
    """Make a service SAS's signature again (Azure Storage, "Create a service SAS", version 2020-12-06 and later)."""
    parts = urlsplit(signed.url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (query["sp"], query["sr"]) == (permission, "b")
    resource = f"/blob{unquote(parts.path)}"
    fields = [query["sp"], "", query["se"], resource, "", "", "", query["sv"], "b", *[""] * 7]
    made = hmac.new(base64.b64decode(AZURE_KEY), "\n".join(fields).encode(), hashlib.sha256).digest()
    assert base64.b64decode(query["sig"]) == made


@pytest.mark.parametrize("key", ODD_KEYS)
def test_azure_signatures_are_as_documented(azure, key):
    """GET reads, PUT and blocks write, and each is signed for that blob alone."""
    check_azure(azure.presign_get(key, HOUR), "r")
    check_azure(azure.presign_put(key, HOUR), "w")
    check_azure(azure.presign_part(key, azure.create_multipart(key), 1, HOUR), "w")


def test_an_azure_put_says_what_its_holder_must_send(azure):
    """Without the kind of blob Azure refuses."""
    signed = azure.presign_put("k", HOUR, content_type="image/png")
    assert signed.headers == {"x-ms-blob-type": "BlockBlob", "Content-Type": "image/png"}


def test_azure_blocks_are_listed_in_order(azure, recorder):
    """A part's URL sends a block; completing lists the same blocks, with the type that was given at the beginning."""
    recorder.answers = [(201, b"", {}), (201, b"", {}), (201, b"", {"ETag": '"0x8D"'})]
    upload = azure.create_multipart("k", content_type="image/png")
    for number in (2, 1):
        ask(azure.presign_part("k", upload, number, HOUR), b"block")
    assert azure.complete_multipart("k", upload, {2: "", 1: ""}) == '"0x8D"'
    second, first, completed = recorder.requests
    blocks = [parse_qs(urlsplit(sent[1]).query)["blockid"][0] for sent in (first, second)]
    assert (
        completed[3]
        .decode()
        .endswith(f"<BlockList><Latest>{blocks[0]}</Latest><Latest>{blocks[1]}</Latest></BlockList>")
    )
    assert len({len(block) for block in blocks}) == 1
    assert "comp=blocklist" in completed[1]
    assert completed[2]["X-Ms-Blob-Content-Type"] == "image/png"
    azure.abort_multipart("k", upload)


def test_blocks_that_azure_lacks_are_a_multipart_error(azure, recorder):
    """Azure tells its code in a header."""
    recorder.answers = [(400, b"", {"x-ms-error-code": "InvalidBlockList"})]
    with pytest.raises(MultipartError, match="InvalidBlockList"):
        azure.complete_multipart("k", azure.create_multipart("k"), {1: ""})


def test_only_ids_of_ours_name_an_azure_upload(azure):
    """Anything else is no upload."""
    with pytest.raises(MultipartError):
        azure.presign_part("k", "x", 1, HOUR)


def test_an_account_key_signs_for_longer_than_a_week(azure):
    """Azure sets no limit then; the URL says when it ends."""
    signed = azure.presign_get("k", timedelta(days=365))
    ends = parse_qs(urlsplit(signed.url).query)["se"][0]
    assert signed.expires_at == datetime.fromisoformat(ends)
    assert abs(signed.expires_at - datetime.now(UTC) - timedelta(days=365)) < timedelta(minutes=5)


def test_without_an_account_key_azure_grants_a_week(recorder):
    """A user delegation key lives for seven days; a longer wish is refused before Azure is asked."""
    from obstore.store import AzureStore

    driver = AzureStore("container", config={"account_name": "account", "token": "canary", "endpoint": recorder.url})
    presigner = AzurePresigner("az://container", driver, StoreOptions(), None)
    with pytest.raises(PresignError, match="7 days"):
        presigner.presign_get("k", WEEK + timedelta(seconds=1))
    assert recorder.requests == []


def test_azure_is_spoken_to_by_tls_alone(monkeypatch):
    """A URL of Azure itself is not valid over plain HTTP."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    signed = open_presigner("az://container").presign_get("k", HOUR)
    assert signed.url.startswith("https://account.blob.core.windows.net/container/k?")
    assert "spr=https" in signed.url
    assert AZURE_KEY not in repr(signed) + repr(open_presigner("az://container"))


def test_a_key_that_is_no_base64_is_told_and_not_quoted(monkeypatch):
    """A typing mistake is found when the presigner is opened, or the store is."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "canary!")
    with pytest.raises((PresignError, InvalidUriError)) as caught:
        open_presigner("az://container")
    assert "canary" not in str(caught.value)


def test_a_delegated_signature_is_by_the_key_that_azure_hands_out(recorder):
    """With a token instead of an account's key, Azure is asked for a key, and what it signs is as documented."""
    from obstore.store import AzureStore

    delegation = base64.b64encode(b"delegation key").decode()
    fields = {
        "SignedOid": "oid",
        "SignedTid": "tid",
        "SignedStart": "2026-01-01T00:00:00Z",
        "SignedExpiry": "2026-01-02T00:00:00Z",
        "SignedService": "b",
        "SignedVersion": "2023-11-03",
        "Value": delegation,
    }
    rows = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    recorder.answers = [(200, f"<UserDelegationKey>{rows}</UserDelegationKey>".encode(), {})]
    config = {"account_name": "account", "token": "canary", "endpoint": f"{recorder.url}/account"}
    driver = AzureStore("container", config=config, client_options={"allow_http": True})
    signed = AzurePresigner("az://container", driver, StoreOptions(), None).presign_get("k", HOUR)
    assert "comp=userdelegationkey" in recorder.requests[0][1]
    query = {name: values[0] for name, values in parse_qs(urlsplit(signed.url).query).items()}
    assert (query["skoid"], query["sktid"], query["sp"]) == ("oid", "tid", "r")
    assert signed.expires_at == datetime.fromisoformat(query["se"])
    with pytest.raises(PresignError, match="account's key"):
        AzurePresigner("az://container", driver, StoreOptions(), None).presign_get("a b", HOUR)


def test_a_sas_cannot_sign_another():
    """The sentence says what could."""
    from obstore.store import AzureStore

    driver = AzureStore("container", config={"account_name": "account", "sas_key": "sv=1&sig=canary"})
    presigner = AzurePresigner("az://container", driver, StoreOptions(), None)
    with pytest.raises(PresignError, match="AZURE_STORAGE_ACCOUNT_KEY") as caught:
        presigner.presign_get("k", HOUR)
    assert "canary" not in str(caught.value)


def test_a_holder_sends_the_parts_of_a_google_upload(request, account):
    """Create, send by URL, complete: on the server that the store's own tests use."""
    bucket = request.getfixturevalue("google")
    presigner = google(account, STORAGE_EMULATOR_HOST=bucket.url)
    upload = presigner.create_multipart("a b")
    parts = {n: ask(presigner.presign_part("a b", upload, n, HOUR), body)[1]["ETag"] for n, body in PARTS.items()}
    presigner.complete_multipart("a b", upload, parts)
    assert ask(presigner.presign_get("a b", HOUR))[0] == b"first second"
    ask(presigner.presign_put("small", HOUR), b"body")
    assert ask(presigner.presign_get("small", HOUR))[0] == b"body"


@pytest.mark.emulators
@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_holder_puts_and_gets_through_azure_urls(container, key):
    """Azurite checks each signature; what goes in through one URL comes out of the other."""
    presigner = open_presigner(f"{container}/base")
    signed = presigner.presign_put(key, HOUR, content_type="image/png")
    ask(signed, b"body")
    body, headers = ask(presigner.presign_get(key, HOUR))
    assert (body, headers["Content-Type"]) == (b"body", "image/png")


@pytest.mark.emulators
def test_a_holder_sends_the_blocks_of_an_azure_upload(container):
    """In any order; the type is the one of the beginning, and blocks that are missing are told."""
    presigner = open_presigner(f"{container}/base")
    upload = presigner.create_multipart("a b", content_type="image/png")
    for number, body in PARTS.items():
        ask(presigner.presign_part("a b", upload, number, HOUR), body)
    with pytest.raises(MultipartError):
        presigner.complete_multipart("a b", upload, {1: "", 2: "", 3: ""})
    presigner.complete_multipart("a b", upload, dict.fromkeys(PARTS, ""))
    body, headers = ask(presigner.presign_get("a b", HOUR))
    assert (body, headers["Content-Type"]) == (b"first second", "image/png")


@pytest.mark.emulators
def test_azure_refuses_another_method_and_an_altered_key(container):
    """A URL to read does not write, and one blob's signature does not open another."""
    presigner = open_presigner(container)
    ask(presigner.presign_put("a", HOUR), b"body")
    reading, blob = presigner.presign_get("a", HOUR), {"x-ms-blob-type": "BlockBlob"}
    for altered in (
        replace(reading, url=reading.url.replace("/a?", "/b?")),
        replace(reading, method="PUT", headers=blob),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(altered, b"x" if altered.method == "PUT" else None)


@pytest.mark.emulators
def test_azure_refuses_a_url_that_has_ended(container, monkeypatch):
    """As its `expires_at` says."""
    presigner = open_presigner(container)
    ask(presigner.presign_put("a", HOUR), b"body")
    monkeypatch.setattr("wildcast_server.store.presign.time.time", lambda: datetime.now(UTC).timestamp() - 7200)
    ended = presigner.presign_get("a", HOUR)
    assert ended.expires_at is not None
    assert ended.expires_at < datetime.now(UTC)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(ended)
