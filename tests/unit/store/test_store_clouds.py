"""Google Cloud Storage and Azure: what they do otherwise than S3, beside what the conformance suite asks of all."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from wildcast_server.errors import InvalidKeyError, InvalidUriError, NoSuchBucketError, UnsupportedError
from wildcast_server.settings import load_settings
from wildcast_server.store import ObjectAttributes, ObjectStore, StoreOptions, open_store
from wildcast_server.store._azure import EMULATOR_KEY, azure_config, open_azure
from wildcast_server.store._gcs import gcs_endpoint, open_gcs
from wildcast_server.wiring.publishing import build_publisher

PART = 5 << 20
ATTRIBUTES = ObjectAttributes("application/json", "no-cache")


def _md5(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _parts():
    yield bytes(PART)
    yield b"end"


def _publish(store: ObjectStore, tmp_path: Path, *, large: bool):
    """Publish a directory of a few files with default settings but for the part's size."""
    directory = tmp_path / "output"
    (directory / "data.zarr" / "c").mkdir(parents=True)
    for number in range(20):
        (directory / "data.zarr" / "c" / str(number)).write_bytes(bytes([number]) * 1000)
    (directory / "empty").touch()
    if large:
        (directory / "large.nc").write_bytes(b"large" * (PART // 4))
    values = {"data_dir": tmp_path / "data", "object_storage.multipart_chunksize": PART}
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    return directory, build_publisher(settings, store).publish(directory, "run")


def _assert_published(store: ObjectStore, directory: Path) -> None:
    files = [file for file in directory.rglob("*") if file.is_file()]
    for file in files:
        assert store.get(f"outputs/run/{file.relative_to(directory)}") == file.read_bytes()
    assert len(list(store.list("outputs/run"))) == len(files) + 1


class TestGoogle:
    """At the request level: no emulator in the package registries speaks the XML API."""

    def test_what_travels_with_an_object(self, google):
        """Type, caching, storage class, and tags as custom metadata: with one request as with a multipart upload."""
        store = google.open(storage_class="NEARLINE", tags={"team": "weather"})
        store.put("one", b"x", ATTRIBUTES)
        store.put_parts("many", _parts(), part_size=PART, concurrency=2, attributes=ATTRIBUTES)
        for method, path in (("PUT", "/bucket/one"), ("POST", "/bucket/many?uploads=")):
            headers = next(sent for verb, target, sent in google.requests if (verb, target) == (method, path))
            assert headers["content-type"] == "application/json"
            assert headers["cache-control"] == "no-cache"
            assert headers["x-goog-storage-class"] == "NEARLINE"
            assert headers["x-goog-meta-team"] == "weather"

    def test_an_etag_is_the_md5_of_one_request_alone(self, google):
        """So small objects are verified by it, and large ones are not."""
        store = google.open()
        assert store.etags_are_md5
        assert not store.checks_crc64nvme
        assert store.put("one", b"data") == _md5(b"data")
        assert store.put_parts("many", _parts(), part_size=PART, concurrency=2) != _md5(b"".join(_parts()))

    @pytest.mark.parametrize(("large", "verified"), [(False, "md5-etag"), (True, "read-back")])
    def test_a_whole_publication(self, google, tmp_path, large, verified):
        """With default settings; the manifest says how it was verified."""
        store = google.open()
        directory, published = _publish(store, tmp_path, large=large)
        _assert_published(store, directory)
        assert published.publication.verified == verified
        assert google.uploads == {}

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_store_that_asks_for_less(self, google, status):
        """The request is repeated, and it is counted that the store asked for fewer."""
        google.refusals[:] = [status, status]
        store = google.open()
        assert store.put("one", b"x") == _md5(b"x")
        assert store.slow_downs == 2

    def test_parts_that_raise_leave_no_upload_behind(self, google):
        """The upload is aborted when reading a part fails."""

        def broken():
            yield bytes(PART)
            raise OSError(5, "the disk is gone")

        with pytest.raises(OSError, match="disk"):
            google.open().put_parts("large", broken(), part_size=PART, concurrency=1)
        assert google.uploads == {}

    def test_a_large_object_only_if_there_is_none(self, google):
        """Cannot be promised, and so is refused."""
        with pytest.raises(UnsupportedError):
            google.open().put_parts("large", _parts(), part_size=PART, concurrency=1, if_absent=True)

    def test_unfinished_uploads_are_found_and_ended(self, google):
        """Those below a prefix, over as many pages as there are, by keys that are relative to the store."""
        google.page = 2
        for number in range(5):
            google.uploads[f"u{number}"] = {"key": f"base/run/ü {number}", "at": "2026-11-20T10:00:00Z", "parts": {}}
        google.uploads["other"] = {"key": "base/runner", "at": "", "parts": {}}
        store = google.open("base")
        found = list(store.unfinished_uploads("run"))
        assert [(upload.key, upload.id) for upload in found] == [
            (f"run/ü {number}", f"u{number}") for number in range(5)
        ]
        assert found[0].initiated is not None
        for upload in [*found, found[0]]:
            store.abort_upload(upload)
        assert set(google.uploads) == {"other"}

    def test_all_unfinished_uploads_of_a_bucket(self, google):
        """An empty prefix means the whole store."""
        google.uploads["u"] = {"key": "any/where", "at": "no time", "parts": {}}
        (found,) = google.open().unfinished_uploads("")
        assert (found.key, found.initiated) == ("any/where", None)

    def test_a_service_account_asks_in_its_own_name(self, google, monkeypatch):
        """With a token that it signs itself; nothing else is asked for one."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {"client_email": "robot@example.org", "private_key": pem.decode(), "private_key_id": "1"}
        environ = {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({**account, "type": "service_account"})}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", environ["GOOGLE_SERVICE_ACCOUNT_KEY"])
        store = open_gcs("gs://bucket", "bucket", "", StoreOptions(endpoint_url=google.url), environ)
        assert list(store.unfinished_uploads("run")) == []
        kind, _, token = google.requests[-1][2]["authorization"].partition(" ")
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert (kind, claims["iss"]) == ("Bearer", "robot@example.org")

    def test_a_machine_asks_as_its_service_account(self, google, answering):
        """The token comes from the metadata service."""
        host = answering(200, b'{"access_token": "of-the-machine"}').removeprefix("http://")
        options = StoreOptions(endpoint_url=google.url)
        store = open_gcs("gs://bucket", "bucket", "", options, {"GCE_METADATA_HOST": host})
        assert list(store.unfinished_uploads("run")) == []
        assert google.requests[-1][2]["authorization"] == "Bearer of-the-machine"

    def test_whoever_is_no_service_account_leaves_them(self, google):
        """Without anybody to ask as, nothing is asked, and nothing fails: a lifecycle rule ends such uploads."""
        google.uploads["u"] = {"key": "run/large", "at": "", "parts": {}}
        options = StoreOptions(endpoint_url=google.url)
        store = open_gcs("gs://bucket", "bucket", "", options, {"GCE_METADATA_HOST": "127.0.0.1:1"})
        assert list(store.unfinished_uploads("run")) == []
        assert google.requests == []

    @pytest.mark.parametrize(
        ("options", "environ", "url"),
        [
            ({}, {}, ""),
            ({}, {"STORAGE_EMULATOR_HOST": "localhost:9023"}, "http://localhost:9023"),
            ({}, {"STORAGE_EMULATOR_HOST": "http://localhost:9023/"}, "http://localhost:9023"),
            ({}, {"GOOGLE_BASE_URL": "https://storage.example.org/"}, "https://storage.example.org"),
            ({}, {"STORAGE_EMULATOR_HOST": "h:1", "GOOGLE_BASE_URL": "https://b"}, "http://h:1"),
            ({"endpoint_url": "https://a"}, {"STORAGE_EMULATOR_HOST": "h:1"}, "https://a"),
            ({"endpoint_url": "a:1", "scheme": "http"}, {}, "http://a:1"),
        ],
    )
    def test_where_the_service_is(self, options, environ, url):
        """The setting goes before the emulator's variable, and that before obstore's own."""
        assert gcs_endpoint(StoreOptions(**options), environ) == url

    def test_a_bucket_that_does_not_exist(self, google):
        """Writing says so, in the words that S3's buckets have."""
        environ = {"STORAGE_EMULATOR_HOST": google.url}
        with pytest.raises(NoSuchBucketError, match="gs://missing"):
            open_gcs("gs://missing", "missing", "", StoreOptions(), environ).put("a", b"")


class TestAzureRequests:
    """At the request level, with a server that records what comes."""

    @pytest.fixture
    def store(self, google) -> ObjectStore:
        """A container of an account that is called "bucket"."""
        environ = {"AZURE_STORAGE_ACCOUNT": "bucket", "AZURE_STORAGE_KEY": EMULATOR_KEY}
        options = StoreOptions(endpoint_url=f"{google.url}/bucket", storage_class="COOL", tags={"team": "weather 1"})
        return open_azure("az://box", "box", "", options, environ)

    def test_what_travels_with_an_object(self, store, google):
        """Type, caching, access tier and tags: with one request as with a list of blocks."""
        store.put("one", b"x", ATTRIBUTES)
        (_, path, headers) = google.requests[-1]
        assert path == "/bucket/box/one"
        assert headers["x-ms-blob-content-type"] == "application/json"
        assert headers["x-ms-blob-cache-control"] == "no-cache"
        assert headers["x-ms-access-tier"] == "Cool"
        assert headers["x-ms-tags"] == "team=weather+1"
        assert headers["authorization"].startswith("SharedKey bucket:")

    def test_no_checksum_is_promised(self, store):
        """Neither by the service nor by its ETags: what is published there is read back."""
        assert not store.checks_crc64nvme
        assert not store.etags_are_md5

    def test_backslashes_are_refused(self, store, google):
        r"""Azure would take a\b for a/b, which may be another object."""
        for use in (store.get, store.head, store.delete, lambda key: store.put(key, b"")):
            with pytest.raises(InvalidKeyError, match="backslash"):
                use("a\\b")
        assert google.requests == []


ACCOUNT = "AccountName=acc;AccountKey=a2V5"


@pytest.mark.parametrize(
    ("environ", "config"),
    [
        ({}, {}),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=https;{ACCOUNT};EndpointSuffix=c.example"},
            {"account_name": "acc", "account_key": "a2V5", "endpoint": "https://acc.blob.c.example"},
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://h/acc/;SharedAccessSignature=sv=1&sig=a%3D"},
            {"sas_key": "sv=1&sig=a%3D", "endpoint": "https://h/acc"},
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            {
                "account_name": "devstoreaccount1",
                "account_key": EMULATOR_KEY,
                "endpoint": "http://127.0.0.1:10000/devstoreaccount1",
            },
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "a2V5"},
            {"account_name": "acc", "account_key": "a2V5"},
        ),
        # What obstore reads itself is left to it; but the endpoint's scheme has to be known here.
        ({"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_ACCOUNT_NAME": "b"}, {}),
        ({"AZURE_STORAGE_ENDPOINT": "http://h/"}, {"endpoint": "http://h"}),
    ],
)
def test_where_azures_account_comes_from(environ, config):
    """A connection string, or the names that the Azure CLI has for account and key."""
    assert azure_config(StoreOptions(), environ) == config


def test_azures_endpoint_of_the_settings_goes_before_all_others():
    """Also before the one of a connection string, whose account it keeps."""
    environ = {"AZURE_STORAGE_CONNECTION_STRING": f"{ACCOUNT};BlobEndpoint=https://one"}
    assert azure_config(StoreOptions(endpoint_url="https://two/"), environ) == {
        "account_name": "acc",
        "account_key": "a2V5",
        "endpoint": "https://two",
    }


@pytest.mark.parametrize(
    ("uri", "options", "said"),
    [
        ("gs://bucket", {"storage_class": "GLACIER_IR"}, "GLACIER_IR is none of STANDARD, NEARLINE, COLDLINE, ARCHIVE"),
        ("az://box", {"storage_class": "ARCHIVE"}, "ARCHIVE is none of HOT, COOL, COLD"),
        ("gs://bucket", {"sse": "aws:kms"}, "sse is for S3"),
        ("az://box", {"sse": "AES256"}, "sse is for S3"),
        ("gs://bucket", {"tags": {"a b": "c"}}, "'a b' cannot be kept"),
        ("gs://bucket", {"tags": {"a": "ü"}}, "'a' cannot be kept"),
        ("az://box", {"tags": {"a": "b?"}}, "'a' cannot be kept"),
    ],
)
def test_what_a_service_does_not_have_is_refused_at_opening(uri, options, said, monkeypatch):
    """Rather than left out in silence."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
    with pytest.raises(InvalidUriError, match=re.escape(said)):
        open_store(uri, StoreOptions(**options))


def test_azure_without_an_account(monkeypatch):
    """Is an error at opening, which names the container."""
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidUriError, match="az://box"):
        open_store("az://box")


@pytest.mark.emulators
class TestAzurite:
    """Against Microsoft's emulator, which `make test-emulators` installs."""

    @pytest.mark.parametrize("large", [False, True])
    def test_a_whole_publication(self, container, tmp_path, large):
        """With default settings; every object is read back."""
        store = open_store(container)
        directory, published = _publish(store, tmp_path, large=large)
        _assert_published(store, directory)
        assert published.publication.verified == "read-back"

    def test_tier_and_tags_are_kept(self, container, ask_azure):
        """As Azure itself lists them, for one request as for blocks."""
        store = open_store(container, StoreOptions(storage_class="COOL", tags={"team": "weather 1"}))
        store.put("one", b"x")
        store.put_parts("many", _parts(), part_size=PART, concurrency=2)
        box = container.removeprefix("az://")
        listed = ask_azure("GET", f"{box}?restype=container&comp=list&include=tags").decode()
        assert listed.count("<AccessTier>Cool</AccessTier>") == 2
        assert listed.count("<Key>team</Key><Value>weather 1</Value>") == 2

    def test_listing_goes_on_behind_a_key(self, container):
        """Although this service does not heed where to begin."""
        store = open_store(f"{container}/base")
        for key in ("a", "b", "c/d"):
            store.put(key, b"")
        assert sorted(info.key for info in store.list(after="a")) == ["b", "c/d"]

    def test_a_container_that_does_not_exist(self, container):
        """Reading and writing say so."""
        store = open_store(f"{container}x")
        uses: tuple[Callable[[], object], ...] = (lambda: store.put("a", b""), lambda: store.get("a"))
        for use in uses:
            with pytest.raises(NoSuchBucketError):
                use()
