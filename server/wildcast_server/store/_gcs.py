"""Google Cloud Storage over obstore, which speaks its XML API.

An object's ETag is the MD5 of its bytes there, unless it came in parts or is encrypted with a key of the customer's
(Cloud Storage, "Hashes and ETags"); what no ETag proves is read back. No request carries a checksum.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from obstore.store import GCSStore as GcsDriver

from wildcast_server.errors import InvalidUriError
from wildcast_server.store._gcs_uploads import GcsUploads
from wildcast_server.store._http import NO_RETRIES, client_options, retry_config, retry_policy
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._traits import Traits
from wildcast_server.store.base import ObjectAttributes, UnfinishedUpload
from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import GCSConfig, GCSCredential, RetryConfig

STORAGE_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")
"""All of them can be read at once (Cloud Storage, "Storage classes")."""

_METADATA_NAME = re.compile(r"[A-Za-z0-9_-]+")
_METADATA_VALUE = re.compile(r"[ -~]*")


class GcsStore(ObstoreStore):
    """A bucket, or what lies below a prefix of one.

    Parameters
    ----------
    metadata
        Custom metadata of each object: there are no tags here.
    uploads
        Finds multipart uploads that nobody has ended.
    others
        As `ObstoreStore` has them.
    """

    def __init__(self, *others: Any, metadata: Mapping[str, str], uploads: GcsUploads, **named: Any) -> None:
        super().__init__(*others, **named)
        self._metadata = dict(metadata)
        self._uploads = uploads

    def _attributes(self, attributes: ObjectAttributes | None) -> "Attributes | None":
        given = super()._attributes(attributes)
        return {**(given or {}), **self._metadata} if self._metadata else given

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        below = self._below(prefix)
        for upload in self._uploads.list(f"{below}/" if below else ""):
            yield replace(upload, key=self._key(upload.key))

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        self._uploads.abort(self._path(upload.key), upload.id)


def open_gcs(
    uri: str, bucket: str, base: str, options: StoreOptions, environ: Mapping[str, str] | None = None
) -> GcsStore:
    """Describe a bucket; nothing is sent.

    Raises
    ------
    InvalidUriError
        If the options ask for what this service does not have.
    """
    env = os.environ if environ is None else environ
    endpoint = gcs_endpoint(options, env)
    traits = Traits(etags_are_md5=True, begins_puts=True, storage_class=_storage_class(options, uri))

    def driver(size: int | None, retry: "RetryConfig") -> GcsDriver:
        return GcsDriver(
            bucket,
            config=_config(endpoint),
            client_options=client_options(options, endpoint, size),
            retry_config=retry,
            credential_provider=_nobody if is_emulator(options, env) else None,
        )

    single = driver(options.part_size, NO_RETRIES)
    repeating = driver(None, retry_config(options))
    return GcsStore(
        uri,
        repeating,
        base,
        traits,
        single=single,
        retry=retry_policy(options),
        metadata=_metadata(options.tags, uri),
        uploads=GcsUploads(bucket, endpoint, is_emulator(options, env), options, env),
    )


def gcs_endpoint(options: StoreOptions, environ: Mapping[str, str]) -> str:
    """Return the URL of the service without a trailing slash, or nothing for Google's own.

    The setting comes first, then ``STORAGE_EMULATOR_HOST``, which Google's libraries know (a host, or a URL), then
    ``GOOGLE_BASE_URL``, which obstore knows.
    """
    named = options.endpoint_url or environ.get("STORAGE_EMULATOR_HOST") or environ.get("GOOGLE_BASE_URL") or ""
    if named and "://" not in named:
        named = f"{'http' if options.endpoint_url is None else options.scheme}://{named}"
    return named.rstrip("/")


def is_emulator(options: StoreOptions, environ: Mapping[str, str]) -> bool:
    """Whether requests go to an emulator, which asks for no credentials, as Google's libraries take it."""
    return options.endpoint_url is None and bool(environ.get("STORAGE_EMULATOR_HOST"))


def _config(endpoint: str) -> "GCSConfig":
    return {"base_url": endpoint} if endpoint else {}


def _nobody() -> "GCSCredential":
    # obstore looks for credentials before each write even where it is told to sign nothing.
    return {"token": "emulator", "expires_at": None}


def _storage_class(options: StoreOptions, uri: str) -> str | None:
    named = options.storage_class
    if named is not None and named not in STORAGE_CLASSES:
        raise InvalidUriError(f"{uri}: the storage class {named} is none of {', '.join(STORAGE_CLASSES)}")
    if options.sse is not None:
        raise InvalidUriError(f"{uri}: sse is for S3; Google encrypts everything, with the bucket's key if it has one")
    return named


def _metadata(tags: Mapping[str, str], uri: str) -> dict[str, str]:
    for name, value in tags.items():
        if not _METADATA_NAME.fullmatch(name) or not _METADATA_VALUE.fullmatch(value):
            raise InvalidUriError(
                f"{uri}: the tag {name!r} cannot be kept here: names have letters, digits, - and _, values are ASCII"
            )
    return dict(tags)
