"""Where S3's credentials come from."""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wildcast_server.errors import AccessDeniedError
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.store._s3_credentials import (
    Credentials,
    MissingCredentialsError,
    RenewedCredentials,
    credential_source,
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
    source = credential_source(INLINE, environment)
    assert source() == Credentials("id", "canary")
    assert source.for_driver() == {
        "access_key_id": "id",
        "secret_access_key": "canary",
        "token": None,
        "expires_at": None,
    }
    assert "canary" not in repr(source) + repr(source())


def test_the_environment_comes_before_profiles(tmp_path: Path):
    """Keys in the environment are taken, with their token, even where a profile is named."""
    environment = {**ENVIRONMENT, "AWS_SESSION_TOKEN": "token", "AWS_PROFILE": "x", "HOME": str(tmp_path)}
    assert credential_source(StoreOptions(), environment)() == Credentials("id", "secret", "token")


@pytest.mark.usefixtures("aws_files")
@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_named_profile(variable: str, monkeypatch: pytest.MonkeyPatch):
    """The environment names the profile, which comes before web identity."""
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere")
    monkeypatch.setenv(variable, "fixed")
    assert credential_source(StoreOptions())().access_key_id == "FID"


ENDS = "2099-01-01T00:00:00Z"
GRANTED = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WID</AccessKeyId>"
    "<SecretAccessKey>ws</SecretAccessKey><SessionToken>wt</SessionToken>"
    f"<Expiration>{ENDS}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
).encode()
HANDED_OUT = (
    f'{{"Code": "Success", "AccessKeyId": "CID", "SecretAccessKey": "cs", "Token": "ct", "Expiration": "{ENDS}"}}'
).encode()


@pytest.mark.usefixtures("aws_files")
def test_web_identity_comes_before_the_container(
    tmp_path: Path, answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    """A pod's token is exchanged at the token service (IRSA), even where a container's service is announced."""
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", answering(200, GRANTED, {"Content-Type": "text/xml"}))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
    assert credential_source(StoreOptions())() == Credentials("WID", "ws", "wt", datetime(2099, 1, 1, tzinfo=UTC))


@pytest.mark.usefixtures("aws_files")
def test_the_containers_service(tmp_path: Path, answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    """A task (ECS) or pod (EKS Pod Identity) asks the service that its environment announces."""
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", answering(200, HANDED_OUT))
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    assert credential_source(StoreOptions())() == Credentials("CID", "cs", "ct", datetime(2099, 1, 1, tzinfo=UTC))


@pytest.mark.usefixtures("aws_files")
def test_the_instances_service_is_the_last(answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    """Where nothing else is, the instance's metadata service is asked; here it calls its token and role by one text."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", answering(200, HANDED_OUT))
    assert credential_source(StoreOptions())().access_key_id == "CID"


@pytest.mark.usefixtures("aws_files")
def test_nothing_anywhere():
    """Without any credentials the sentence says what to do."""
    with pytest.raises(MissingCredentialsError, match="set them, or name a profile"):
        credential_source(StoreOptions())()


class Issuer:
    """Hands out credentials of a short life, and counts."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.issued = 0
        self.fails = False

    def __call__(self) -> Credentials:
        if self.fails:
            raise MissingCredentialsError("the issuer is away")
        self.issued += 1
        ends = datetime.now(UTC) + timedelta(seconds=self.life)
        return Credentials(f"id-{self.issued}", "secret", "token", ends)


def test_credentials_of_a_short_life_are_handed_out_alive():
    """Whoever asks, in whatever thread, gets some with life left, and the issuer is asked once a life at most."""
    issuer = Issuer(0.6)
    source = RenewedCredentials(issuer, "issuer")

    def ask(_: int) -> list[float]:
        until, left = time.monotonic() + 1.5, []
        while time.monotonic() < until:
            ends = source().expires_at
            assert ends is not None
            left.append((ends - datetime.now(UTC)).total_seconds())
            time.sleep(0.001)
        return left

    with ThreadPoolExecutor(4) as pool:
        assert min(min(left) for left in pool.map(ask, range(4))) > 0
    assert issuer.issued <= 5


def test_credentials_that_cannot_be_renewed_serve_to_their_end():
    """While an issuer is away, what it handed out is used as long as it lives, and only then it is an error."""
    issuer = Issuer(1.0)
    source = RenewedCredentials(issuer, "issuer")
    first = source()
    issuer.fails = True
    assert first.expires_at is not None
    while (first.expires_at - datetime.now(UTC)).total_seconds() > 0.1:
        assert source() == first
        time.sleep(0.02)
    time.sleep(0.2)
    with pytest.raises(MissingCredentialsError, match="away"):
        source()


def test_what_a_store_calls_expired_is_renewed_once():
    """Of many who complain of the same credentials, the first has them replaced, and the others get the new ones."""
    source = RenewedCredentials(issuer := Issuer(3600), "issuer")
    source()
    complaint = time.monotonic()
    assert source.renew(complaint)
    assert source().access_key_id == "id-2"
    assert source.renew(complaint)
    assert (source().access_key_id, issuer.issued) == ("id-2", 2)


def test_the_driver_asks_again():
    """obstore, which keeps for ever what has no end, is never told of one that is more than a minute away."""
    for life in (1.5, 3600.0):
        ends = RenewedCredentials(Issuer(life), "issuer").for_driver()["expires_at"]
        assert ends is not None
        assert (ends - datetime.now(UTC)).total_seconds() <= min(life, 60)


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
def test_static_profiles_do_not_end(monkeypatch: pytest.MonkeyPatch):
    """Keys written down in a profile have no expiry."""
    monkeypatch.setenv("AWS_PROFILE", "fixed")
    assert credential_source(StoreOptions())() == Credentials("FID", "fs")


@pytest.mark.usefixtures("aws_files")
def test_credentials_of_a_process_have_their_true_expiry(monkeypatch: pytest.MonkeyPatch):
    """What a profile hands out for a time comes with the end that it said, so that it is renewed before."""
    monkeypatch.setenv("AWS_PROFILE", "process")
    credentials = credential_source(StoreOptions())()
    assert (credentials.access_key_id, credentials.token) == ("PID", "pt")
    expires = credentials.expires_at
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
