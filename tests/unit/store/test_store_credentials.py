"""Where S3's credentials come from."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wildcast_server.errors import AccessDeniedError
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.store._s3_credentials import (
    InlineCredentials,
    ProfileCredentials,
    credential_provider,
    profile_in_play,
)

INLINE = StoreOptions(access_key_id="id", secret_access_key="canary")
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AWS's files with a static profile, and one whose process hands out credentials that end."""
    script = tmp_path / "process.py"
    expiry = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    script.write_text(
        "import json\n"
        f"print(json.dumps({{'Version': 1, 'AccessKeyId': 'PID', 'SecretAccessKey': 'ps', 'SessionToken': 'pt', "
        f"'Expiration': '{expiry.isoformat()}'}}))\n",
    )
    (tmp_path / "credentials").write_text("[fixed]\naws_access_key_id = FID\naws_secret_access_key = fs\n")
    (tmp_path / "config").write_text(
        f"[profile process]\ncredential_process = {sys.executable} {script}\n[default]\nregion = eu-west-1\n",
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ENVIRONMENT:
        monkeypatch.delenv(name)
    return tmp_path


def test_inline_comes_first(tmp_path: Path):
    """Configured keys win over environment and profile, and take no session token from elsewhere."""
    environment = {**ENVIRONMENT, "AWS_SESSION_TOKEN": "foreign", "AWS_PROFILE": "fixed", "HOME": str(tmp_path)}
    provider = credential_provider(INLINE, environment)
    assert isinstance(provider, InlineCredentials)
    assert provider() == {"access_key_id": "id", "secret_access_key": "canary", "token": None, "expires_at": None}
    assert "canary" not in repr(provider)


def test_the_environment_comes_before_profiles(tmp_path: Path):
    """Keys in the environment are left to obstore, even where a profile is named."""
    assert credential_provider(StoreOptions(), {**ENVIRONMENT, "AWS_PROFILE": "x", "HOME": str(tmp_path)}) is None


def test_without_anything_obstore_looks_further(tmp_path: Path):
    """Web identity, container and instance are obstore's to find; boto3 is not asked."""
    assert credential_provider(StoreOptions(), {"HOME": str(tmp_path), "AWS_ROLE_ARN": "arn:x"}) is None


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_named_profile(tmp_path: Path, variable: str):
    """The environment names the profile."""
    provider = credential_provider(StoreOptions(), {variable: "fixed", "HOME": str(tmp_path)})
    assert isinstance(provider, ProfileCredentials)
    assert provider.profile == "fixed"


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("[default]\naws_access_key_id = x\n", "default"),
        ("[default]\nsso_session = x\n", "default"),
        ("[default]\nregion = x\n", None),
        ("[other]\naws_access_key_id = x\n", None),
        ("no ini at all", None),
    ],
)
def test_the_default_profile(tmp_path: Path, text: str, profile: str | None):
    """Without a name, the profile ``default`` counts if AWS's files give it credentials."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(text)
    assert profile_in_play({"HOME": str(tmp_path)}) == profile


@pytest.mark.usefixtures("aws_files")
def test_static_profiles_do_not_end():
    """Keys written down in a profile have no expiry."""
    credential = ProfileCredentials("fixed")()
    assert (credential["access_key_id"], credential["expires_at"]) == ("FID", None)


@pytest.mark.usefixtures("aws_files")
def test_credentials_of_a_process_have_their_true_expiry():
    """What a profile hands out for a time comes with the end that it said, so that it is renewed before."""
    credential = ProfileCredentials("process")()
    assert (credential["access_key_id"], credential.get("token")) == ("PID", "pt")
    expires = credential["expires_at"]
    assert expires is not None
    assert timedelta(minutes=50) < expires - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.usefixtures("aws_files")
def test_a_profile_is_used_and_the_environment_left_alone(
    s3_endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    """A store works with a profile's credentials, and nothing is written to the environment."""
    monkeypatch.setenv("AWS_PROFILE", "process")
    before = dict(os.environ)
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    store.put("key", b"x")
    assert store.get("key") == b"x"
    assert dict(os.environ) == before


@pytest.mark.usefixtures("aws_files")
def test_a_profile_that_does_not_exist(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """An unknown profile is an access error at the first request, and named."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    store = open_store("s3://bucket", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises(AccessDeniedError, match="nobody"):
        store.get("key")


def test_a_process_that_fails_is_not_quoted(aws_files: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """What a credential process writes when it fails shows in no error."""
    (aws_files / "process.py").write_text("import sys; sys.exit('canary')")
    monkeypatch.setenv("AWS_PROFILE", "process")
    store = open_store("s3://bucket", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises(AccessDeniedError, match="'process' failed to hand out credentials") as caught:
        store.get("key")
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_role_that_may_not_be_assumed(
    aws_files: Path, answering: Callable[..., str], s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    """A profile whose role is refused is an access error with AWS's own reason."""
    with (aws_files / "config").open("a") as config:
        config.write(
            "[profile role]\nregion = us-east-1\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = fixed\n"
        )
    refusal = (
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", answering(403, refusal))
    monkeypatch.setenv("AWS_PROFILE", "role")
    store = open_store("s3://bucket", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises(AccessDeniedError, match=r"'role' gives no credentials: .*not authorized"):
        store.get("key")


def test_checksums_without_credentials(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """boto3, which reads the checksums, finding no credentials or no such profile is an access error too."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for profile in ("", "nobody"):
        monkeypatch.setenv("AWS_PROFILE", profile)
        store = open_store("s3://bucket", StoreOptions(endpoint_url=s3_endpoint))
        with pytest.raises(AccessDeniedError, match="could not be read"):
            store.full_checksum("key")


WITHOUT_HOME = """
import os
from wildcast_server.store._s3_credentials import profile_in_play
if os.getuid() == 0:
    os.setuid(54321)
print(profile_in_play({}))
"""


def test_a_user_without_a_home():
    """In a container whose user has no home there is no profile, and no exception."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_HOME], env={}, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("None", "")
