"""Presigned URLs of Azure: their signatures, made again as documented, and our own requests."""

import base64
import hashlib
import hmac
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from wildcast_server.errors import (
    InvalidUriError,
    MultipartError,
    PresignError,
)
from wildcast_server.store import PresignedUrl, StoreOptions, open_presigner
from wildcast_server.store._presign_azure import AzurePresigner

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
PARTS = {2: b" second", 1: b"first"}
Recorder = Any

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


def test_azure_signatures_are_as_documented(azure, odd_key):
    """GET reads, PUT and blocks write, and each is signed for that blob alone."""
    check_azure(azure.presign_get(odd_key, HOUR), "r")
    check_azure(azure.presign_put(odd_key, HOUR), "w")
    check_azure(azure.presign_part(odd_key, azure.create_multipart(odd_key), 1, HOUR), "w")


def test_an_azure_put_says_what_its_holder_must_send(azure):
    """Without the kind of blob Azure refuses."""
    signed = azure.presign_put("k", HOUR, content_type="image/png")
    assert signed.headers == {"x-ms-blob-type": "BlockBlob", "Content-Type": "image/png"}


def test_azure_blocks_are_listed_in_order(azure, recorder, ask):
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


@pytest.mark.emulators
def test_a_holder_puts_and_gets_through_azure_urls(container, odd_key, ask):
    """Azurite checks each signature; what goes in through one URL comes out of the other."""
    presigner = open_presigner(f"{container}/base")
    signed = presigner.presign_put(odd_key, HOUR, content_type="image/png")
    ask(signed, b"body")
    body, headers = ask(presigner.presign_get(odd_key, HOUR))
    assert (body, headers["Content-Type"]) == (b"body", "image/png")


@pytest.mark.emulators
def test_a_holder_sends_the_blocks_of_an_azure_upload(container, ask):
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
def test_azure_refuses_another_method_and_an_altered_key(container, ask):
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
def test_azure_refuses_a_url_that_has_ended(container, monkeypatch, ask):
    """As its `expires_at` says."""
    presigner = open_presigner(container)
    ask(presigner.presign_put("a", HOUR), b"body")
    monkeypatch.setattr("wildcast_server.store.presign.time.time", lambda: datetime.now(UTC).timestamp() - 7200)
    ended = presigner.presign_get("a", HOUR)
    assert ended.expires_at is not None
    assert ended.expires_at < datetime.now(UTC)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(ended)
