"""Putting the parts together, and what is left when that fails."""

import threading
from contextlib import nullcontext, suppress
from pathlib import Path

import httpx
import pytest

from wildcast_server.errors import PublicationError, SchemaMismatchError, SettingsError
from wildcast_server.settings import load_settings
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.wiring.lock import sole_publisher
from wildcast_server.wiring.publishing import build_key_pair, build_store, configured_signer, publish_alone
from wildcast_server.wiring.serving import bind
from wildcast_server.wiring.stack import EdgeAlone, Stack


@pytest.fixture
def settings_of(tmp_path):
    """Settings of a small stack; a test names what differs."""
    (tmp_path / "workflows").mkdir()

    def build(**values):
        small = {
            "data_dir": tmp_path / "data",
            "api.port": 0,
            "edge.port": 0,
            "workflows.directories": [tmp_path / "workflows"],
            "object_storage.enabled": True,
        }
        return load_settings({**small, **values}, environ={}, cwd=tmp_path).settings

    return build


def stack_of(settings) -> Stack:
    """A stack that runs nothing: a worker takes a while to start."""
    return Stack(settings, with_workers=False)


def held():
    """Threads, files and sockets that this process has open."""
    found = set(threading.enumerate())
    for link in Path("/proc/self/fd").iterdir():
        # The directory that is listed is open itself, and closed by then.
        with suppress(FileNotFoundError):
            found.add(f"{link.name}: {link.readlink()}")
    return found


@pytest.fixture(autouse=True)
def warm(settings_of):
    """Open and close a stack once, so that what libraries keep for good is counted before a test."""
    with stack_of(settings_of()):
        pass


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"workflows.exposed": ["missing"]}, r"workflows\.exposed names missing"),
        ({"workflows.config": {"missing": {}}}, "names missing"),
        ({"workflows.warm_up": ["missing"]}, r"workflows\.warm_up names missing"),
        ({"edge.enabled": False}, "nothing serves its signed URLs"),
        ({"edge.host": "192.0.2.1"}, r"edge\.host"),
    ],
)
def test_a_stack_that_cannot_be_built_leaves_nothing(settings_of, values, words):
    """The sentence says why; no thread, socket or file stays open, and the next stack starts."""
    before = held()
    with pytest.raises(SettingsError, match=words):
        stack_of(settings_of(**values)).__enter__()
    assert held() <= before
    with stack_of(settings_of()):
        pass


def test_an_older_schema_leaves_nothing(settings_of, tmp_path):
    """A database that has to be migrated first is closed again."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "data" / "wildcast.sqlite")) as database, database:
        database.execute("UPDATE wildcast_schema SET version_num = 'newer'")
    before = held()
    with pytest.raises(SchemaMismatchError):
        stack_of(settings_of()).__enter__()
    assert held() <= before


def test_a_stack_leaves_nothing_when_it_ends(settings_of):
    """The same for one that ran, its worker included."""
    before = held()
    with Stack(settings_of()):
        assert held() - before
    assert held() <= before


def test_an_edge_needs_its_port(settings_of):
    """An edge alone says which setting to change."""
    with bind("127.0.0.1", 0, "api") as taken, pytest.raises(SettingsError, match=r"edge\.port"):
        EdgeAlone(settings_of(**{"edge.port": taken.getsockname()[1]})).__enter__()


def test_a_key_that_cannot_be_made_is_a_sentence(settings_of, tmp_path):
    """A file stands where `data_dir` should be."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"signing key .*edge\.pem cannot be made"):
        build_key_pair(settings_of(data_dir=tmp_path / "file" / "data"))


def test_a_key_that_cannot_sign_is_noticed_before_the_upload(settings_of, tmp_path):
    """A publication that nobody could get a URL for is not made."""
    key = tmp_path / "data" / "keys" / "edge.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n")
    directory = tmp_path / "output"
    directory.mkdir()
    (directory / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="private key"):
        publish_alone(settings_of(**{"edge.port": 8001}), directory, None)
    assert [path for path in Path(tmp_path / "data" / "objects").rglob("*") if path.is_file()] == []


def test_a_directory_is_published_by_one_process_at_a_time(settings_of, tmp_path):
    """A second run of the same command, started too early, is told so; nothing is written twice."""
    directory = tmp_path / "output"
    directory.mkdir()
    (directory / "a.txt").write_text("a")
    settings = settings_of(**{"edge.port": 8001})
    with sole_publisher(directory), pytest.raises(PublicationError, match="by another process"):
        publish_alone(settings, directory, None)
    assert publish_alone(settings, directory, None).remote_path == "outputs/output"


def test_no_url_is_signed_for_a_port_that_is_not_known(settings_of):
    """Port 0 is any free port, so a URL for it would lead nowhere."""
    with pytest.raises(SettingsError, match=r"edge\.port or edge\.public_url"):
        configured_signer(settings_of())


def test_a_store_that_cannot_be_used_is_said_at_the_start(settings_of, s3_endpoint, caplog):
    """A bucket that does not exist is in the log before the first result is computed for it; the service starts."""
    values = {"object_storage.bucket": "no-such-bucket", "object_storage.endpoint_url": s3_endpoint}
    with stack_of(settings_of(**values)) as stack:
        assert stack.api_url
    assert "the store cannot be used now" in caplog.text
    assert "no-such-bucket" in caplog.text


def test_the_edge_trusts_the_public_keys_that_are_configured(settings_of, tmp_path):
    """While keys are changed, URLs of the old one still open; what no known key signed does not."""
    settings = settings_of(**{"edge.port": 8001})
    build_store(settings).put("outputs/a/b", b"data")
    old, unknown = keys.generate_private_key(), keys.generate_private_key()
    (tmp_path / "old.pem").write_text(keys.public_key_pem(old))
    with EdgeAlone(settings_of(**{"edge.public_keys": {"KOLD": str(tmp_path / "old.pem")}})) as edge:
        for key_pair_id, key, status in (("KOLD", old, 200), ("KOLD", unknown, 403), ("KNEW", old, 403)):
            signer = CloudFrontSigner(edge.edge_url, key_pair_id, key)
            assert httpx.get(signer.sign_url("outputs/a/b").url).status_code == status


@pytest.mark.parametrize("text", ["/no/such.pem", "-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----", "xx"])
def test_a_public_key_that_cannot_be_used_is_named(settings_of, text):
    """The sentence names the setting and the key pair id."""
    with pytest.raises(SettingsError, match=r"edge\.public_keys: KOLD cannot be used: the public key"):
        EdgeAlone(settings_of(**{"edge.public_keys": {"KOLD": text}})).__enter__()


@pytest.mark.parametrize("public_url", [None, "https://api.example/wildcast"])
def test_the_documentation_asks_where_clients_do(settings_of, public_url):
    """Behind a proxy the documentation's requests go to the public URL, and else to where the page came from."""
    with stack_of(settings_of(**{"api.public_url": public_url})) as stack:
        described = httpx.get(f"{stack.api_url}/openapi.json").json()
    assert [server["url"] for server in described.get("servers", [])] == ([public_url] if public_url else [])


def sign(settings):
    configured_signer(settings)
    return nullcontext()


@pytest.mark.parametrize(("use", "port"), [(stack_of, 0), (EdgeAlone, 0), (sign, 8001)])
@pytest.mark.parametrize(("public_url", "told"), [(None, True), ("http://results.example:8001", False)])
def test_urls_that_lead_other_machines_nowhere_are_told(settings_of, caplog, use, port, public_url, told):
    """Whoever listens on every interface is told which address is missing, wherever URLs are signed."""
    values = {"edge.host": "0.0.0.0", "edge.port": port, "edge.public_url": public_url}  # noqa: S104 - what it is about
    with use(settings_of(**values)):
        pass
    assert ("where other machines find nothing" in caplog.text) is told
    assert ("edge.public_url" in caplog.text) is told
    assert "127.0.0.1:0," not in caplog.text
