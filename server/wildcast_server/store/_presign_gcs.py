"""Signed URLs of Google Cloud Storage, and its multipart uploads.

URLs by Google's V4 signing process with a service account's key (Google Cloud Storage documentation, "V4 signing
process with your own program"); obstore's own cannot name a part. A URL may begin no upload ("Canonical requests": POST
is for resumable uploads alone), so our own requests carry a token that the service account signs for itself (Google
AIP-4111, "Self-signed JWT").
"""

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wildcast_server.errors import PresignError
from wildcast_server.store._gcs import gcs_endpoint, is_emulator
from wildcast_server.store._presign_http import Outgoing, Sender
from wildcast_server.store._presign_xml import NOTHING, XmlPresigner
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions
from wildcast_server.store.presign import Lifetime, PresignedUrl

GOOGLE = "https://storage.googleapis.com"

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_TOKEN_LIFE = 3600
_KEY_VARIABLE = "GOOGLE_SERVICE_ACCOUNT_KEY"
_FILE_VARIABLES = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "SERVICE_ACCOUNT",
    "GOOGLE_APPLICATION_CREDENTIALS",
)


@dataclass(frozen=True)
class ServiceAccount:
    """Who signs, with which key, and where it says that the service is."""

    email: str
    key: RSAPrivateKey = field(repr=False)
    key_id: str
    endpoint: str
    anonymous: bool
    """Whether the service is an emulator that wants no token."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a service account's key in Google's JSON; raises `ValueError` or `KeyError` for anything else."""
        given: dict[str, Any] = json.loads(text)
        key = load_pem_private_key(given["private_key"].encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("the private key is not RSA")  # noqa: TRY004 - what reading a bad key raises
        return cls(
            email=given["client_email"],
            key=key,
            key_id=given.get("private_key_id", ""),
            endpoint=given.get("gcs_base_url") or GOOGLE,
            anonymous=bool(given.get("disable_oauth")),
        )

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, PKCS1v15(), SHA256())

    def token(self, now: int) -> str:
        """Return a bearer token that is good for an hour."""
        head = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        claims = {"iss": self.email, "sub": self.email, "scope": _SCOPE, "iat": now, "exp": now + _TOKEN_LIFE}
        signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        return f"{signed}.{_base64(self.sign(signed.encode()))}"


def service_account(environ: Mapping[str, str], uri: str) -> ServiceAccount:
    """Find the key that obstore would find too.

    Raises
    ------
    PresignError
        If there is none, or it cannot be read.
    """
    with suppress(LookupError, OSError, ValueError, TypeError, AttributeError):
        text = environ.get(_KEY_VARIABLE) or _key_file(environ).read_text(encoding="utf-8")
        return ServiceAccount.parse(text)
    # Not from what was suppressed, which may quote the key.
    advice = f"set {_KEY_VARIABLE}, or name its file in GOOGLE_APPLICATION_CREDENTIALS"
    raise PresignError(
        f"URLs of {uri} are signed with a service account's key (JSON), and there is none: {advice}", uri
    )


def _key_file(environ: Mapping[str, str]) -> Path:
    named = [environ[name] for name in _FILE_VARIABLES if environ.get(name)]
    return Path(named[0])


class GcsPresigner(XmlPresigner):
    """Signs URLs of a bucket of Google Cloud Storage, for seven days at most.

    Parameters
    ----------
    uri, options
        What it is about, and how it is reached.
    environ
        Where the service account's key is looked for, when it is first needed.
    """

    def __init__(self, uri: str, options: StoreOptions, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(uri)
        self._options = options
        self._environ = environ
        self._sender = Sender(options)
        self._found: ServiceAccount | None = None

    @classmethod
    def open(cls, uri: str, options: StoreOptions) -> Self:
        """Open a bucket by its URI."""
        return cls(open_store(uri, options).uri, options)

    def _object_headers(self, content_type: str | None) -> dict[str, str]:
        named = {"Content-Type": content_type, "x-goog-storage-class": self._options.storage_class}
        kept = {f"x-goog-meta-{name}": value for name, value in self._options.tags.items()}
        return {name: value for name, value in named.items() if value} | kept

    def _presign(
        self,
        method: str,
        key: str,
        expires_in: timedelta | float,
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
    ) -> PresignedUrl:
        lifetime = self._lifetime(key, expires_in)
        account = self._account()
        url = signed_url(account, method, self._url(account, key), lifetime, query=query, headers=headers)
        return PresignedUrl(method, url, lifetime.expires_at, headers)

    def _exchange(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> str:
        account = self._account()
        url = f"{self._url(account, key)}?{canonical_query(query)}"

        def outgoing() -> Outgoing:
            anonymous = account.anonymous or is_emulator(self._options, self._environ)
            bearer = {} if anonymous else {"Authorization": f"Bearer {account.token(int(time.time()))}"}
            return Outgoing(method, url, {**headers, **bearer})

        return self._sender.send(self._uri_of(key), outgoing, body or None).body

    def _url(self, account: ServiceAccount, key: str) -> str:
        endpoint = gcs_endpoint(self._options, self._environ) or account.endpoint
        return f"{endpoint.rstrip('/')}/{self._bucket}/{quote(self._path(key), safe='/~')}"

    def _account(self) -> ServiceAccount:
        if self._found is None:
            self._found = service_account(self._environ, self.uri)
        return self._found


def signed_url(
    account: ServiceAccount,
    method: str,
    url: str,
    lifetime: Lifetime,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> str:
    """Sign a URL that has no query yet (Google Cloud Storage documentation, "Signatures", "Canonical requests")."""
    parts = urlsplit(url)
    signed = sorted({"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}.items())
    names = ";".join(name for name, _ in signed)
    date = f"{lifetime.begins_at:%Y%m%dT%H%M%SZ}"
    scope = f"{date[:8]}/auto/storage/goog4_request"
    arguments = canonical_query(
        {
            **query,
            "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
            "X-Goog-Credential": f"{account.email}/{scope}",
            "X-Goog-Date": date,
            "X-Goog-Expires": str(lifetime.seconds),
            "X-Goog-SignedHeaders": names,
        },
    )
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed)
    canonical = f"{method}\n{parts.path}\n{arguments}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    digest = sha256(canonical.encode()).hexdigest()
    signature = account.sign(f"GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}".encode()).hex()
    return f"{url}?{arguments}&X-Goog-Signature={signature}"


def canonical_query(query: Mapping[str, str]) -> str:
    """Return a query in the order, and with the escapes, that a signature is made over."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
