"""Open a store by its URI: the one place that names the backends."""

import re
from pathlib import Path
from urllib.parse import unquote

from obstore.store import LocalStore as LocalDriver
from obstore.store import MemoryStore

from wildcast.contract.naming import InvalidPathError, check_key
from wildcast_server.errors import InvalidUriError
from wildcast_server.store._azure import open_azure
from wildcast_server.store._errors import DRIVER_ERRORS, cannot_open
from wildcast_server.store._gcs import open_gcs
from wildcast_server.store._local import LocalStore
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._s3 import open_s3
from wildcast_server.store.base import ObjectStore
from wildcast_server.store.options import StoreOptions

SCHEMES = ("file", "memory", "s3", "gs", "az")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(uri: str, options: StoreOptions | None = None) -> ObjectStore:
    """Open the store at `uri`; nothing is sent yet, but a missing directory of ``file://`` is made.

    Parameters
    ----------
    uri
        ``file:///absolute/path`` (percent-encoded where needed), ``memory://`` (empty at each opening),
        ``s3://bucket[/base]``, ``gs://bucket[/base]`` or ``az://container[/base]``; keys hang below ``base``.
        GCS and Azure find account and credentials in their standard environment variables.
    options
        How to reach it.

    Raises
    ------
    InvalidUriError
        If the URI is of another kind or ill-formed, or the store cannot be opened.
    """
    options = options or StoreOptions()
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        kinds = ", ".join(f"{name}://" for name in SCHEMES)
        raise InvalidUriError(
            f"{_shown(uri)} is not the URI of a store; it must begin with one of {kinds}", _public(uri)
        )
    try:
        return _open(scheme, rest, uri, options)
    except DRIVER_ERRORS as error:
        if isinstance(error, InvalidUriError):
            raise
        raise cannot_open(error, _shown(uri)) from error


def _open(scheme: str, rest: str, uri: str, options: StoreOptions) -> ObjectStore:
    match scheme:
        case "file":
            return _open_file(rest, uri)
        case "memory":
            base = _base(rest, uri)
            return ObstoreStore(f"memory://{base}", MemoryStore(), base)
    bucket, _, below = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        wrong = "names a bucket that there cannot be" if bucket else "names no bucket"
        advice = f"write {scheme}://bucket or {scheme}://bucket/base"
        raise InvalidUriError(f"{_shown(uri)} {wrong}; {advice}", _public(uri))
    base = _base(below, uri)
    clean = f"{scheme}://{bucket}/{base}".rstrip("/")
    match scheme:
        case "s3":
            return open_s3(clean, bucket, base, options)
        case "gs":
            return open_gcs(clean, bucket, base, options)
    return open_azure(clean, bucket, base, options)


def _open_file(rest: str, uri: str) -> ObjectStore:
    path = unquote(rest)
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidUriError(f"{_shown(uri)} is not an absolute path; write file:///absolute/path", _public(uri))
    clean = Path(path)
    return LocalStore(clean.as_uri(), LocalDriver(clean, mkdir=True, automatic_cleanup=True))


def _base(text: str, uri: str) -> str:
    stripped = text.removesuffix("/")
    try:
        return check_key(stripped) if stripped else ""
    except InvalidPathError as error:
        raise InvalidUriError(f"{_shown(uri)} cannot be a store: {error}", _public(uri)) from error


def _public(uri: str) -> str:
    """Return the URI without what may be a password."""
    return f"{uri.partition('://')[0]}://…" if "@" in uri else uri


def _shown(uri: str) -> str:
    return _public(uri) if "@" in uri else repr(uri)
