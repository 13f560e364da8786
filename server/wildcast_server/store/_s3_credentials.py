"""Where S3's credentials come from: inline, environment, profile or SSO, then what obstore finds by itself.

obstore looks at the environment, at web identity (IRSA), at the container's service (ECS, EKS Pod Identity) and at the
instance's metadata service, in this order, and renews what it found. It knows no profiles: those are boto3's, which is
imported only when one is in play. Nothing is ever written to the environment.
"""

import configparser
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from obstore.store import S3Credential

CredentialProvider = Callable[[], "S3Credential"]

_PROFILE_KEYS = frozenset(
    {"aws_access_key_id", "sso_session", "sso_start_url", "credential_process", "role_arn", "login_session"},
)


def credential_provider(options: StoreOptions, environ: Mapping[str, str] | None = None) -> CredentialProvider | None:
    """Choose what supplies credentials; None leaves it to obstore."""
    env = os.environ if environ is None else environ
    if options.access_key_id is not None and options.secret_access_key is not None:
        return InlineCredentials(options.access_key_id, options.secret_access_key, options.session_token)
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        return None
    profile = profile_in_play(env)
    return None if profile is None else ProfileCredentials(profile)


def profile_in_play(environ: Mapping[str, str]) -> str | None:
    """Name the profile that the environment asks for, or ``default`` if the AWS files give it credentials."""
    named = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    if named:
        return named
    # Not Path.expanduser, which raises for a user without a home, as containers have them.
    home = Path(environ.get("HOME") or os.path.expanduser("~")) / ".aws"  # noqa: PTH111
    files = (
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials",
        environ.get("AWS_CONFIG_FILE") or home / "config",
    )
    return "default" if any(_has_default(Path(file)) for file in files) else None


def _has_default(path: Path) -> bool:
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError):
        return False
    return parser.has_section("default") and not _PROFILE_KEYS.isdisjoint(parser.options("default"))


class InlineCredentials:
    """Credentials that were configured; they never end.

    A provider rather than plain settings, because obstore would complete those from the environment:
    our key would travel with somebody else's session token.
    """

    def __init__(self, access_key_id: str, secret_access_key: str, session_token: str | None) -> None:
        self._credential: S3Credential = {
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "token": session_token,
            "expires_at": None,
        }

    def __repr__(self) -> str:
        return "InlineCredentials(…)"

    def __call__(self) -> "S3Credential":
        return self._credential


class ProfileCredentials:
    """Credentials of a profile in AWS's files: static, SSO, assumed role or process; renewed before they end.

    Parameters
    ----------
    profile
        Its name.
    """

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self._lock = Lock()
        self._credentials: Any = None

    def __repr__(self) -> str:
        return f"ProfileCredentials({self.profile!r})"

    def __call__(self) -> "S3Credential":
        """Return the credentials of this moment.

        Raises
        ------
        LookupError
            If the profile has none, with what to do about it.
        """
        from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

        try:
            return self._current()
        except CredentialRetrievalError as error:
            # Its text quotes what a process wrote, which may be anything.
            raise LookupError(f"the AWS profile {self.profile!r} failed to hand out credentials") from error
        except (BotoCoreError, ClientError) as error:
            raise LookupError(f"the AWS profile {self.profile!r} gives no credentials: {error}") from error

    def _current(self) -> "S3Credential":
        with self._lock:
            if self._credentials is None:
                self._credentials = self._find()
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": self._expiry(),
        }

    def _find(self) -> Any:
        import boto3

        credentials = boto3.session.Session(profile_name=self.profile).get_credentials()
        if credentials is None:
            raise LookupError(f"the AWS profile {self.profile!r} has no credentials")
        return credentials

    def _expiry(self) -> datetime | None:
        # Only the refreshable kinds have it, none of them publishes it, and obstore takes no zone but UTC.
        expiry: datetime | None = getattr(self._credentials, "_expiry_time", None)
        return None if expiry is None else expiry.astimezone(UTC)
