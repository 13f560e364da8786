"""Shared access signatures of Azure Blob Storage, and its uploads in blocks.

With the account's key it is a service SAS, which may live as long as one likes ("Create a service SAS"), made here:
obstore signs the path with its escapes, where Azure wants it without. With Microsoft Entra's credentials it is a user
delegation SAS, by obstore, which asks Azure for a key and lives for seven days at most ("Get User Delegation Key").
Either is over the blob and the permission alone, so it serves for blocks too.
"""

import base64
import hmac
import os
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import obstore

from wildcast_server.errors import MultipartError, PresignError, StoreError
from wildcast_server.store._azure import azure_config
from wildcast_server.store._errors import DRIVER_ERRORS, curtail, translate
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._presign_http import Outgoing, Sender
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions
from wildcast_server.store.presign import SEVEN_DAYS, Lifetime, PresignedUrl, Presigner

if TYPE_CHECKING:
    from obstore.store import AzureStore

_OUR_REQUESTS = timedelta(minutes=5)
_KEY_VARIABLES = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY")
_VERSION = "2022-11-02"
_PERMISSIONS = {"GET": "r", "PUT": "w"}
_UPLOAD = re.compile(r"([0-9a-f]{16})(?:\.([A-Za-z0-9_-]+={0,2}))?")


@dataclass(frozen=True)
class AccountKey:
    """What signs without asking Azure."""

    account: str
    key: bytes = field(repr=False)
    endpoint: str
    """Of the account, without a trailing slash."""

    def signed_url(self, method: str, container: str, path: str, lifetime: Lifetime) -> str:
        """Return a blob's URL that grants one method; from no set moment on, because clocks differ."""
        expiry = f"{lifetime.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        protocol = "https" if self.endpoint.startswith("https://") else ""
        resource = f"/blob/{self.account}/{container}/{path}"
        permission = _PERMISSIONS[method]
        # Permission, start, expiry, resource, policy, address, protocol, version, kind; seven that are not used.
        lines = [permission, "", expiry, resource, "", "", protocol, _VERSION, "b", *[""] * 7]
        signature = hmac.digest(self.key, "\n".join(lines).encode(), "sha256")
        query = {"sp": permission, "se": expiry, "spr": protocol, "sv": _VERSION, "sr": "b", "sig": _base64(signature)}
        arguments = urlencode({name: value for name, value in query.items() if value}, quote_via=quote, safe="")
        return f"{self.endpoint}/{container}/{quote(path, safe='/~')}?{arguments}"


def account_key(options: StoreOptions, environ: Mapping[str, str]) -> AccountKey | None:
    """Find the account's key where obstore finds it too; None if there is none.

    Raises
    ------
    PresignError
        If it is not one.
    """
    config = azure_config(options, environ)
    account = config.get("account_name") or environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    key = config.get("account_key") or next(filter(None, map(environ.get, _KEY_VARIABLES)), None)
    if not account or not key:
        return None
    endpoint = config.get("endpoint") or f"https://{account}.blob.core.windows.net"
    with suppress(ValueError):
        return AccountKey(account, base64.b64decode(key, validate=True), endpoint)
    # Not from what was suppressed, which may quote the key.
    raise PresignError("the Azure account key that is set is none: it must be Base64")


class AzurePresigner(Presigner):
    """Signs URLs of a container, or of what lies below a prefix of one.

    Azure keeps nothing of an upload but its blocks, which it forgets a week after the last came ("Put Block"), or when
    another upload of the same blob is completed. The content type travels in the upload's id.

    Parameters
    ----------
    uri
        Without a trailing slash: ``az://container/base``.
    driver
        What signs if there is no account key.
    options
        Endpoint, proxy, certificates and retries.
    key
        The account's key, or None.
    """

    most_parts: ClassVar[int] = 50_000

    def __init__(
        self,
        uri: str,
        driver: "AzureStore",
        options: StoreOptions,
        key: AccountKey | None,
    ) -> None:
        container, _, base = uri.partition("://")[2].partition("/")
        super().__init__(uri, base)
        self._container = container
        self._driver = driver
        self._key = key
        self._sender = Sender(options)

    @classmethod
    def open(cls, uri: str, options: StoreOptions) -> Self:
        """Open a container by its URI."""
        store = open_store(uri, options)
        assert isinstance(store, ObstoreStore)  # noqa: S101 - what az:// is
        driver: Any = store._driver  # noqa: SLF001 - of the same room
        return cls(store.uri, driver, options, account_key(options, os.environ))

    def presign_get(self, key: str, expires_in: timedelta | float) -> PresignedUrl:
        return self._presign("GET", key, expires_in)

    def presign_put(
        self,
        key: str,
        expires_in: timedelta | float,
        *,
        content_type: str | None = None,
    ) -> PresignedUrl:
        typed = {"Content-Type": content_type} if content_type else {}
        return self._presign("PUT", key, expires_in, headers={"x-ms-blob-type": "BlockBlob", **typed})

    def create_multipart(self, key: str, *, content_type: str | None = None) -> str:
        """Name an upload; Azure is not asked."""
        self._path(key)
        named = secrets.token_hex(8)
        return f"{named}.{urlsafe_b64encode(content_type.encode()).decode()}" if content_type else named

    def presign_part(self, key: str, upload: str, number: int, expires_in: timedelta | float) -> PresignedUrl:
        self._check_number(key, number)
        block = self._block(self._parse(key, upload)[0], number)
        return self._presign("PUT", key, expires_in, f"&comp=block&blockid={quote(block, safe='')}")

    def complete_multipart(self, key: str, upload: str, parts: Mapping[int, str]) -> str | None:
        """Make the blob of its blocks; return its ETag. The blocks' own may be empty: Azure gives none."""
        named, content_type = self._parse(key, upload)
        blocks = (self._block(named, number) for number, _ in self._in_order(key, parts))
        rows = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()
        headers = {"Content-Type": "application/xml"}
        if content_type:
            headers["x-ms-blob-content-type"] = content_type

        def signed() -> Outgoing:
            return Outgoing("PUT", self._presign("PUT", key, _OUR_REQUESTS, "&comp=blocklist").url, headers)

        return self._sender.send(self._uri_of(key), signed, body).headers.get("ETag")

    def abort_multipart(self, key: str, upload: str) -> None:
        """Do nothing: Azure forgets blocks that are part of no blob."""
        self._parse(key, upload)

    def _presign(
        self,
        method: Literal["GET", "PUT"],
        key: str,
        expires_in: timedelta | float,
        more: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> PresignedUrl:
        path = self._path(key)
        lifetime = self._lifetime(key, expires_in)
        if self._key is not None:
            url, ends = self._key.signed_url(method, self._container, path, lifetime), lifetime.expires_at
        else:
            url = self._delegated(method, key, path, lifetime)
            ends = datetime.fromisoformat(parse_qs(urlsplit(url).query)["se"][0]).astimezone(UTC)
        return PresignedUrl(method, url + more, ends, headers or {})

    def _delegated(self, method: Literal["GET", "PUT"], key: str, path: str, lifetime: Lifetime) -> str:
        if quote(path, safe="/~") != path:
            why = "with these credentials only keys of letters, digits and -._~ can be signed: set the account's key"
            raise PresignError(f"no URL of {self._uri_of(key)} can be signed: {why}", self._uri_of(key))
        try:
            return obstore.sign(self._driver, method, path, timedelta(seconds=lifetime.seconds))
        except DRIVER_ERRORS as error:
            raise self._cannot_sign(error, key) from error

    def _cannot_sign(self, error: Exception, key: str) -> StoreError:
        failure = curtail(error)
        uri = self._uri_of(key)
        if failure.status is not None or failure.network:
            return translate(error, uri, "read")
        advice = "set AZURE_STORAGE_ACCOUNT_KEY, or credentials of Microsoft Entra"
        return PresignError(f"no URL of {uri} can be signed with these credentials: {advice}", uri)

    def _longest(self) -> timedelta | None:
        return None if self._key is not None else SEVEN_DAYS

    def _block(self, upload: str, number: int) -> str:
        return _base64(f"{upload}-{number:05d}".encode())

    def _parse(self, key: str, upload: str) -> tuple[str, str]:
        """Return an upload's name and its content type."""
        self._path(key)
        match = _UPLOAD.fullmatch(upload)
        if match is None:
            raise MultipartError(f"{self._uri_of(key)} has no such upload: create one", self._uri_of(key))
        return match[1], urlsafe_b64decode(match[2]).decode() if match[2] else ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
