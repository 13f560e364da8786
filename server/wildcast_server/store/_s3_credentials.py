"""Where S3's credentials come from: inline, environment, then whatever botocore finds, for every engine the same.

botocore looks at profiles (static, SSO, assumed role, process), at web identity (IRSA), at the container's service
(ECS, EKS Pod Identity) and at the instance's metadata service; it is imported only where the first two have nothing.
Nothing is ever written to the environment.
"""

import configparser
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from obstore.store import S3Credential

_PROFILE_KEYS = frozenset(
    {"aws_access_key_id", "sso_session", "sso_start_url", "credential_process", "role_arn", "login_session"},
)

RENEW_BEFORE = 300.0
"""Seconds before their end at which credentials are renewed, if they live so long."""

_RENEW_SHARE = 1 / 3
"""The share of a shorter life that is left when they are renewed."""

_PAUSE = 1.0
"""Seconds between two tries to renew what could not be renewed."""

_DRIVER_KEEPS = timedelta(minutes=1)
"""obstore keeps for ever what has no end, and asks ten times a second for what ends within five minutes."""


class MissingCredentialsError(LookupError):
    """Nothing hands out credentials; the sentence says what was asked."""


@dataclass(frozen=True)
class Credentials:
    """What signs requests."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    """When they end, in UTC; None: never, as far as one knows."""


class CredentialSource(ABC):
    """Hands out credentials that have life left; called from many threads."""

    @abstractmethod
    def __call__(self) -> Credentials:
        """Return the credentials of this moment.

        Raises
        ------
        MissingCredentialsError
            If there are none, with what to do about it.
        """

    def renew(self, before: float) -> bool:
        """Give up those that were handed out before a moment (`time.monotonic`), which a store called expired.

        Returns
        -------
        bool
            Whether the next ones may be others.
        """
        del before
        return False

    def for_driver(self) -> "S3Credential":
        """Return the credentials of this moment as obstore takes them."""
        return _driver_form(self())


class StaticCredentials(CredentialSource):
    """Credentials that were configured, inline or in the environment; nobody renews them.

    A source rather than plain settings, because obstore would complete those from the environment:
    our key would travel with somebody else's session token.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __repr__(self) -> str:
        return "StaticCredentials(…)"

    def __call__(self) -> Credentials:
        return self._credentials


class RenewedCredentials(CredentialSource):
    """Credentials that somebody hands out for a while; renewed before they end, in one thread at a time.

    Parameters
    ----------
    fetch
        Asks for new ones.
    name
        Of whom it asks, for messages.
    """

    def __init__(self, fetch: Callable[[], Credentials], name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._lock = Lock()
        self._current: Credentials | None = None
        self._fetched = 0.0
        self._renew_at = float("inf")
        self._failure: MissingCredentialsError | None = None

    def __repr__(self) -> str:
        return f"RenewedCredentials({self._name!r})"

    def __call__(self) -> Credentials:
        current = self._current
        if current is not None and time.time() < self._renew_at:
            return current
        # Who finds somebody else renewing goes on with what still has life left.
        if not self._lock.acquire(blocking=current is None or _is_over(current)):
            return current if current is not None else self()
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def renew(self, before: float) -> bool:
        with self._lock:
            if self._fetched < before:
                self._current = None
        return True

    def for_driver(self) -> "S3Credential":
        answer = _driver_form(self())
        soon, ends = datetime.now(UTC) + _DRIVER_KEEPS, answer["expires_at"]
        answer["expires_at"] = soon if ends is None else min(soon, ends)
        return answer

    def _renewed(self) -> Credentials:
        current, now = self._current, time.time()
        if current is not None and now < self._renew_at:
            return current
        if self._failure is not None and now < self._renew_at:
            raise self._failure
        try:
            current = self._current = self._fetch()
        except MissingCredentialsError as failure:
            self._renew_at = now + _PAUSE
            if current is None or _is_over(current):
                self._current, self._failure = None, failure
                raise
            return current
        self._failure, self._fetched = None, time.monotonic()
        self._renew_at = _renewal(current)
        return current


def _renewal(credentials: Credentials) -> float:
    """Return when to renew them, in seconds since the epoch."""
    if credentials.expires_at is None:
        return float("inf")
    now, end = time.time(), credentials.expires_at.timestamp()
    return max(end - min(RENEW_BEFORE, (end - now) * _RENEW_SHARE), now + min(_PAUSE, max(end - now, 0.1)))


def _is_over(credentials: Credentials) -> bool:
    return credentials.expires_at is not None and credentials.expires_at <= datetime.now(UTC)


def _driver_form(credentials: Credentials) -> "S3Credential":
    return {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "token": credentials.token,
        "expires_at": credentials.expires_at,
    }


def credential_source(options: StoreOptions, environ: Mapping[str, str] | None = None) -> CredentialSource:
    """Choose what hands out credentials; nobody is asked yet."""
    env = os.environ if environ is None else environ
    if options.access_key_id is not None and options.secret_access_key is not None:
        return StaticCredentials(Credentials(options.access_key_id, options.secret_access_key, options.session_token))
    key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return StaticCredentials(Credentials(key, secret, env.get("AWS_SESSION_TOKEN") or None))
    profile = profile_in_play(env)
    name = f"the AWS profile {profile!r}" if profile else "the environment of this machine"
    return RenewedCredentials(lambda: _fetch(profile, name, options.region), name)


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


def _fetch(profile: str | None, name: str, region: str) -> Credentials:
    """Ask botocore anew: a session of its own has nothing remembered, and rereads AWS's files."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

    try:
        found = _find(profile, region)
        if found is None:
            hint = "" if profile else "no AWS credentials were found; set them, or name a profile: "
            raise MissingCredentialsError(f"{hint}{name} has no credentials")
        return _frozen(found)
    except CredentialRetrievalError as error:
        # Its text quotes what a process wrote, which may be anything.
        raise MissingCredentialsError(f"{name} failed to hand out credentials") from error
    except (BotoCoreError, ClientError) as error:
        raise MissingCredentialsError(f"{name} gives no credentials: {error}") from error
    except RuntimeError as error:
        raise MissingCredentialsError(f"{name} hands out credentials that have ended already") from error


def _find(profile: str | None, region: str) -> Any:
    from botocore.session import Session

    session = Session(profile=profile)
    if session.get_config_variable("region") is None:
        # For the token service, which botocore finds by region alone.
        session.set_config_variable("region", region)
    return session.get_credentials()


def _frozen(found: Any) -> Credentials:
    # Else it would ask a second time, right away, for whatever ends within a quarter of an hour; and only the
    # refreshable kinds have an end, which none of them publishes.
    found._advisory_refresh_timeout = found._mandatory_refresh_timeout = 0  # noqa: SLF001 - as said
    frozen = found.get_frozen_credentials()
    expiry: datetime | None = getattr(found, "_expiry_time", None)
    ends = None if expiry is None else expiry.astimezone(UTC)
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token, ends)
