"""Azure Blob Storage over obstore.

Its ETags say nothing of the bytes, and obstore neither sends nor shows an MD5, so every object is read back. Blocks
that were sent and never made into a blob are removed by the service itself after a week ("Put Block").
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from obstore.store import AzureStore as AzureDriver

from wildcast_server.errors import InvalidKeyError, InvalidUriError
from wildcast_server.store._http import NO_RETRIES, client_options, retry_config, retry_policy
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._traits import Traits
from wildcast_server.store.base import ByteRange, ObjectInfo, ObjectRange, SuffixRange
from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureConfig, RetryConfig

STORAGE_CLASSES = {"HOT": "Hot", "COOL": "Cool", "COLD": "Cold"}
"""Access tiers whose blobs can be read at once, by the setting's spelling ("Access tiers for blob data")."""

EMULATOR_ACCOUNT = "devstoreaccount1"
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Public, and the same for everybody ("Use the Azurite emulator for local Azure Storage development")."""

_EMULATOR = {
    "AccountName": EMULATOR_ACCOUNT,
    "AccountKey": EMULATOR_KEY,
    "BlobEndpoint": f"http://127.0.0.1:10000/{EMULATOR_ACCOUNT}",
}

_TAG = re.compile(r"[A-Za-z0-9 +\-./:=_]*")


class AzureStore(ObstoreStore):
    """A container, or what lies below a prefix of one."""

    def _known_range(self, key: str, byte_range: ObjectRange | None) -> ObjectRange | None:
        """Return the range counted from the object's first byte: the service knows no other ("Get Blob")."""
        if not isinstance(byte_range, SuffixRange) or byte_range.length <= 0:
            return byte_range
        size = self.head(key).size
        return ByteRange(max(size - byte_range.length, 0), size)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        for info in super().list(prefix, after=after):
            # Where to begin is the driver's wish, which not every service that speaks this protocol heeds.
            if after is None or info.key.encode() > after.encode():
                yield info

    def _path(self, key: str) -> str:
        if "\\" in key:
            # It would come to lie at, and perhaps upon, a/b.
            raise InvalidKeyError(f"{key!r}: Azure takes a backslash for a slash: choose another name", self.uri)
        return super()._path(key)

    def _info(self, meta: "ObjectMeta") -> ObjectInfo:
        info = super()._info(meta)
        # Listings leave out the quotes that every other answer has.
        if info.etag and not info.etag.startswith('"'):
            return ObjectInfo(info.key, info.size, f'"{info.etag}"', info.last_modified)
        return info


def open_azure(
    uri: str, container: str, base: str, options: StoreOptions, environ: Mapping[str, str] | None = None
) -> AzureStore:
    """Describe a container; nothing is sent.

    Raises
    ------
    InvalidUriError
        If no account is named, or the options ask for what this service does not have.
    """
    config = azure_config(options, os.environ if environ is None else environ)
    traits = Traits(begins_puts=True, storage_class=_storage_class(options, uri), tags=_tags(options.tags, uri))

    def driver(size: int | None, retry: "RetryConfig") -> AzureDriver:
        client = client_options(options, config.get("endpoint", ""), size)
        return AzureDriver(container, config=config, client_options=client, retry_config=retry)

    single = driver(options.part_size, NO_RETRIES)
    repeating = driver(None, retry_config(options))
    return AzureStore(uri, repeating, base, traits, single=single, retry=retry_policy(options))


def azure_config(options: StoreOptions, environ: Mapping[str, str]) -> "AzureConfig":
    """Return what obstore does not find in the environment by itself.

    That is a connection string in ``AZURE_STORAGE_CONNECTION_STRING``, the Azure CLI's names for account and key
    (``AZURE_STORAGE_ACCOUNT``, ``AZURE_STORAGE_KEY``), and the endpoint of our settings, which goes before all others.
    """
    config = _from_connection_string(environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    if not config:
        account, key = environ.get("AZURE_STORAGE_ACCOUNT"), environ.get("AZURE_STORAGE_KEY")
        if account and not environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
            config["account_name"] = account
        if key and not environ.get("AZURE_STORAGE_ACCOUNT_KEY"):
            config["account_key"] = key
        endpoint = environ.get("AZURE_STORAGE_ENDPOINT") or environ.get("AZURE_ENDPOINT")
        if endpoint:
            config["endpoint"] = endpoint.rstrip("/")
    if options.endpoint_url is not None:
        url = options.endpoint_url
        config["endpoint"] = (url if "://" in url else f"{options.scheme}://{url}").rstrip("/")
    return config


def _from_connection_string(text: str) -> "AzureConfig":
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        parts = _EMULATOR
    config: AzureConfig = {}
    if account := parts.get("AccountName"):
        config["account_name"] = account
    if key := parts.get("AccountKey"):
        config["account_key"] = key
    if token := parts.get("SharedAccessSignature"):
        config["sas_key"] = token
    if endpoint := parts.get("BlobEndpoint") or _endpoint(parts):
        config["endpoint"] = endpoint.rstrip("/")
    return config


def _endpoint(parts: Mapping[str, str]) -> str | None:
    suffix, account = parts.get("EndpointSuffix"), parts.get("AccountName")
    if not suffix or not account:
        return None
    return f"{parts.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"


def _storage_class(options: StoreOptions, uri: str) -> str | None:
    if options.sse is not None:
        raise InvalidUriError(f"{uri}: sse is for S3; Azure encrypts everything, with the account's key if it has one")
    if options.storage_class is None:
        return None
    if options.storage_class not in STORAGE_CLASSES:
        known = ", ".join(STORAGE_CLASSES)
        raise InvalidUriError(f"{uri}: the storage class {options.storage_class} is none of {known}")
    return STORAGE_CLASSES[options.storage_class]


def _tags(tags: Mapping[str, str], uri: str) -> dict[str, str]:
    for name, value in tags.items():
        if not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise InvalidUriError(
                f"{uri}: the tag {name!r} cannot be kept here: letters, digits, spaces and + - . / : = _ are allowed"
            )
    return dict(tags)
