"""Building what publishes and signs: store, transfer, publisher, signer. Free of web framework, database and engine."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from wildcast.contract.naming import RESERVED, join_key
from wildcast.contract.wire import ResultMetadata
from wildcast_server.errors import NotFoundError, SettingsError, StoreError
from wildcast_server.failpoints import reached
from wildcast_server.publish import Publisher, check_name
from wildcast_server.publish.clearing import REQUESTS
from wildcast_server.settings import ObjectStorageSettings, Settings
from wildcast_server.signing import keys
from wildcast_server.signing.base import Signer
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.store.retry import RetryPolicy
from wildcast_server.transfer import Transfer
from wildcast_server.transfer.budget import Budget
from wildcast_server.transfer.files import ProgressCallback
from wildcast_server.usecases.publish_directory import publish_directory
from wildcast_server.wiring.lock import sole_publisher

logger = logging.getLogger(__name__)

LIVE_REQUESTS = 32
"""Requests at a time while a workflow computes: enough for 500 files a second at 60 ms each, and little work."""


@dataclass(frozen=True)
class KeyPair:
    """A signing key under the id by which URLs name it."""

    id: str
    private_key: keys.PrivateKey


def build_store(settings: Settings) -> ObjectStore:
    """Open the store of publications."""
    return open_store(settings.store_uri, store_options(settings.object_storage))


def announce(storage: ObjectStorageSettings) -> None:
    """Say what the settings ask for and do not get."""
    if storage.use_transfer_acceleration and not storage.acceleration.on and storage.s3_bucket is not None:
        logger.info("S3 Transfer Acceleration is off: %s", storage.acceleration.why)
    if storage.crt_min_limit is not None and storage.proxy_url is not None:
        logger.warning("crt_min_limit does nothing with a proxy_url: the AWS Common Runtime's client takes no proxy")


def warn_of_unreachable_urls(settings: Settings, edge_url: str) -> None:
    """Say so if other machines may come, and the URLs that are signed for `edge_url` lead each of them to itself."""
    if settings.signs_for_this_machine_alone:
        logger.warning(
            "signed URLs begin with %s, where other machines find nothing: "
            "set edge.host to 0.0.0.0, and edge.public_url to the address under which they reach the edge",
            edge_url,
        )


def probe_store(settings: Settings) -> None:
    """Look at the store once, without patience; what is wrong with it is logged, and may be right later."""
    options = replace(store_options(settings.object_storage), max_retries=0)
    try:
        next(open_store(settings.store_uri, options).list(settings.object_storage.prefix), None)
    except StoreError as error:
        logger.warning("the store cannot be used now, and executions fail until it can: %s", error)


def build_store_check(settings: Settings) -> Callable[[], None]:
    """Build a look at the store, cheap and without patience: it asks for one object that there is not.

    It returns if the store can be reached, has the bucket, and knows us; else it raises a `StoreError`.
    """
    options = replace(store_options(settings.object_storage), max_retries=0)
    store = open_store(settings.store_uri, options)
    key = join_key(settings.object_storage.prefix, RESERVED, "readiness")

    def check() -> None:
        with suppress(NotFoundError):
            store.get(key)

    return check


def build_transfer(settings: Settings, store: ObjectStore, *, runs_workflows: bool = False) -> Transfer:
    """Build what moves files into `store`, and bounds the requests of this process.

    Parameters
    ----------
    runs_workflows
        Whether workflows run beside it, which may stream: then a configured number bounds both together.
    """
    storage = settings.object_storage
    streaming = streaming_requests(storage) if runs_workflows else None
    configured = storage.max_concurrency
    at_most = configured if configured == "auto" else configured - (streaming or 0)
    return _transfer(storage, store, at_most)


def streaming_requests(storage: ObjectStorageSettings) -> int | None:
    """Return how many requests what a workflow streams may have in flight, in a process of its own.

    None where no number is configured. Of 1 there is none to share, and what is to be streamed goes to the disk.
    """
    return None if storage.max_concurrency == "auto" else storage.max_concurrency // 2


def live_requests(storage: ObjectStorageSettings) -> int:
    """Return how many requests live publishing may have in flight; with 0 there is none.

    Of a configured number they are part of what the worker has in all.
    """
    configured = storage.max_concurrency
    if configured == "auto":
        return LIVE_REQUESTS
    return 0 if configured == 1 else min(LIVE_REQUESTS, configured - configured // 2)


def deletion_budget(storage: ObjectStorageSettings, transfer: Transfer | None) -> Budget:
    """Return what bounds the deletions of publications: a configured number bounds them with all else."""
    if transfer is None or storage.max_concurrency == "auto":
        return Budget(REQUESTS, REQUESTS)
    return transfer.budget


def build_publisher(
    settings: Settings,
    store: ObjectStore,
    transfer: Transfer | None = None,
    observe: Callable[[], ProgressCallback] | None = None,
) -> Publisher:
    """Put together what publishes into `store`.

    Parameters
    ----------
    transfer
        Moves the files; None builds one.
    observe
        As `Publisher` has it.
    """
    storage, transfer = settings.object_storage, transfer or build_transfer(settings, store)
    is_auto = storage.max_concurrency == "auto"
    return Publisher(
        store,
        transfer,
        prefix=storage.prefix,
        ledgers=ledgers_of(settings),
        gentle=_transfer(storage, store, LIVE_REQUESTS) if is_auto else transfer.gently(LIVE_REQUESTS),
        observe=observe,
    )


def ledgers_of(settings: Settings) -> Path:
    """Return where ledgers lie: beside the outputs that they tell of, for each machine that may publish those."""
    return settings.output_dir / ".transfers"


def build_key_pair(settings: Settings) -> KeyPair:
    """Load the configured key pair, or the embedded edge's own, which the first start generates.

    Raises
    ------
    SettingsError
        If a configured key cannot be used.
    """
    storage = settings.object_storage
    if storage.signing_key is None or storage.cloudfront_key_pair_id is None:
        return _own_key_pair(settings.data_dir / "keys" / "edge.pem")
    try:
        private_key = keys.load_private_key(storage.signing_key.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"object_storage.cloudfront_private_key cannot be used: {error}") from error
    return KeyPair(storage.cloudfront_key_pair_id, private_key)


def build_signer(settings: Settings, key_pair: KeyPair, edge_url: str) -> Signer:
    """Build the signer for the configured distribution, or for the embedded edge at `edge_url`."""
    storage = settings.object_storage
    return CloudFrontSigner(
        storage.cloudfront_domain or edge_url,
        key_pair.id,
        key_pair.private_key,
        expires_in=storage.signed_url_expires_in,
        hash_algorithm=storage.cloudfront_hash_algorithm,
    )


def configured_signer(settings: Settings) -> Signer:
    """Build the signer that a server with these settings would use.

    Raises
    ------
    SettingsError
        If neither a CloudFront distribution is configured nor an edge of our own.
    """
    if not _may_sign(settings):
        raise SettingsError("nothing to sign for: set object_storage.cloudfront_domain (and its key), or edge.enabled")
    if not settings.object_storage.has_cloudfront and settings.edge.port == 0 and settings.edge.public_url is None:
        raise SettingsError("an edge on any free port has no address to sign for: set edge.port or edge.public_url")
    warn_of_unreachable_urls(settings, settings.edge.url)
    return build_signer(settings, build_key_pair(settings), settings.edge.url)


def publish_alone(settings: Settings, directory: Path, name: str | None) -> ResultMetadata:
    """Publish a directory without any server, under its own name if none is given.

    The URL is signed if something is configured that would serve it.

    Raises
    ------
    PublicationError, StoreError
        As `Publisher.publish`; also if another process on this machine is publishing the directory.
    """
    root = directory.resolve()
    name = check_name(root.name if name is None else name)
    # First: a key that cannot sign is noticed before the upload, not after it.
    signer = configured_signer(settings) if _may_sign(settings) else None
    publisher = build_publisher(settings, build_store(settings))
    with sole_publisher(root):
        # A run that was killed, of the same directory on the same machine, is gone on with.
        published = publish_directory(publisher, signer, directory, name, owner=f"{socket.gethostname()}:{root}")
        reached("publish.recorded")
        return published


def store_options(storage: ObjectStorageSettings) -> StoreOptions:
    """Hand a store the part of the settings that is about reaching it and about how it keeps objects."""
    return StoreOptions(
        region=storage.region,
        access_key_id=_plain(storage.access_key_id),
        secret_access_key=_plain(storage.secret_access_key),
        session_token=_plain(storage.session_token),
        endpoint_url=storage.endpoint_url,
        scheme=storage.scheme,
        use_virtual_addressing=storage.use_virtual_addressing,
        acceleration=storage.acceleration.on,
        ca_bundle=storage.ca_bundle,
        proxy_url=_plain(storage.proxy_url),
        req_checksum=storage.req_checksum,
        sse=storage.sse,
        sse_kms_key_id=storage.sse_kms_key_id,
        storage_class=storage.storage_class,
        tags=storage.tags,
        use_rust_client=storage.use_rust_client,
        crt_min_limit=storage.crt_min_limit,
        part_size=storage.multipart_chunksize,
        scratch=storage.prefix,
        retry_deadline=storage.retry_deadline,
        max_connections=_connections(storage.max_concurrency),
    )


def _transfer(storage: ObjectStorageSettings, store: ObjectStore, at_most: int | Literal["auto"]) -> Transfer:
    return Transfer(
        store,
        max_concurrency=at_most,
        part_size=storage.multipart_chunksize,
        retry=RetryPolicy(storage.retry_deadline),
    )


def _connections(max_concurrency: int | Literal["auto"]) -> int:
    return StoreOptions.max_connections if max_concurrency == "auto" else max_concurrency


def _may_sign(settings: Settings) -> bool:
    return settings.object_storage.has_cloudfront or settings.edge.enabled


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _own_key_pair(path: Path) -> KeyPair:
    _make_key(path)
    private_key = keys.load_private_key(str(path))
    return KeyPair(keys.key_id(private_key.public_key()), private_key)


def _make_key(path: Path) -> None:
    """Make the key at the first start; later ones find it."""
    try:
        if path.exists():
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.write_private_key(path, keys.generate_private_key())
        logger.info("made the embedded edge's signing key, %s", path)
    except FileExistsError:
        logger.debug("another process made %s first", path)
    except OSError as error:
        raise SettingsError(
            f"the edge's signing key {path} cannot be made ({error.strerror}): "
            "correct the permissions of data_dir, or set another one"
        ) from error
