"""S3, and what is compatible with it: read by the Rust client, written by the engine that was chosen."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TypeVar

from wildcast.contract.naming import join_key
from wildcast_server.errors import CredentialsExpiredError, StoreError, StoreIoError
from wildcast_server.store._http import SMALL, retry_policy
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.store._s3_boto import BotoWriter
from wildcast_server.store._s3_credentials import CredentialSource
from wildcast_server.store._s3_crt import CrtWriter, can_serve
from wildcast_server.store._s3_probe import ChecksumTrust, why_not_accelerated
from wildcast_server.store._s3_rust import RustWriter, make_driver
from wildcast_server.store._s3_signed import SignedClient, abort, list_uploads, read_checksum
from wildcast_server.store._s3_site import S3Site, describe_site
from wildcast_server.store._s3_writer import S3Writer
from wildcast_server.store._traits import Traits
from wildcast_server.store.base import Later, ObjectAttributes, ObjectInfo, PutEnded, UnfinishedUpload
from wildcast_server.store.options import StoreOptions
from wildcast_server.store.retry import WORTH_ANOTHER_TRY, RetryPolicy

Result = TypeVar("Result")

_OTHERS = RetryPolicy(deadline=10.0, max_retries=5)
"""For what may be answered otherwise with other credentials, which the driver asks for ten times a second."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Engines:
    """What writes, and when."""

    site: S3Site
    """Where to: the accelerated endpoint, where there is one."""
    checksums: bool
    """Whether they send a CRC64NVME along."""
    usual: S3Writer
    conditional: S3Writer
    """For a multipart upload that may not replace anything."""
    large: S3Writer | None
    large_from: int
    """Bytes from which on an object is the `large` one's."""

    def choose(self, size: int | None, *, usual: S3Writer | None = None) -> S3Writer:
        """Return the writer of an object of `size` bytes; None if that is not known."""
        chosen = self.large if self.large is not None and size is not None and size >= self.large_from else None
        return chosen or usual or self.usual


class S3Store(ObstoreStore):
    """A bucket, or what lies below a prefix of one.

    Parameters
    ----------
    uri, base, traits
        As `ObstoreStore` has them.
    site
        Where the bucket is.
    """

    def __init__(self, uri: str, base: str, traits: Traits, site: S3Site) -> None:
        super().__init__(
            uri,
            make_driver(site, size=0, retries=True),
            base,
            traits,
            single=make_driver(site, size=SMALL, retries=False),
            retry=retry_policy(site.options),
        )
        self.site = site
        self._signed = SignedClient(site)
        self._trust = ChecksumTrust(self._signed, join_key(base, site.options.scratch))
        self._lock = Lock()
        self._engines: _Engines | None = None
        self._accelerated: S3Site | None = site.accelerate()

    @property
    def checks_crc64nvme(self) -> bool:
        options = self.site.options
        if options.trust_checksums is not None:
            return options.trust_checksums
        if options.endpoint_url is None or options.req_checksum == "required":
            return options.sends_crc64nvme
        return self._trust()

    @property
    def credentials(self) -> CredentialSource:
        """What signs its requests."""
        return self.site.credentials

    @property
    def write_site(self) -> S3Site:
        """Where writes go: to the accelerated endpoint, if the bucket has it; finding out may take a request."""
        return self._chosen().site

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        path = self._path(key)
        writer = self._chosen().choose(len(data))
        _log.debug("%s/%s, %d bytes: written by %s", self.uri, key, len(data), writer.name)
        began = time.monotonic()
        try:
            return writer.put(path, data, attributes, if_absent=False)
        except WORTH_ANOTHER_TRY as error:
            return self._again(error, began, lambda: writer.put(path, data, attributes, if_absent=False))

    @property
    def begins_puts(self) -> bool:
        engines = self._chosen()
        # Where another engine sends some of the small objects, it would hold up all that come after them.
        all_small = engines.large is None or engines.large_from > self.site.options.part_size
        return engines.usual.begins and all_small

    def begin_put(
        self, key: str, data: bytes, attributes: ObjectAttributes | None, ended: PutEnded, later: Later
    ) -> None:
        path = self._path(key)
        writer = self._chosen().choose(len(data))
        _log.debug("%s/%s, %d bytes: written by %s", self.uri, key, len(data), writer.name)
        first_ended = self._first_ended(
            partial(writer.translated, path),
            lambda: writer.put(path, data, attributes, if_absent=False),
            ended,
            later,
        )
        writer.begin_put(path, data, attributes, first_ended, later)

    def put_if_absent(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        path = self._path(key)
        writer = self._chosen().choose(len(data))
        _log.debug("%s/%s, %d bytes: created by %s", self.uri, key, len(data), writer.name)
        return self._repeated(lambda: writer.put(path, data, attributes, if_absent=True))

    def put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None = None,
        if_absent: bool = False,
        size: int | None = None,
    ) -> str | None:
        path = self._path(key)
        engines = self._chosen()
        writer = engines.choose(size, usual=engines.conditional if if_absent else None)
        _log.debug("%s/%s, %s bytes in parts of %d: written by %s", self.uri, key, size, part_size, writer.name)
        began = time.monotonic()
        try:
            return writer.put_parts(
                path,
                parts,
                part_size=part_size,
                concurrency=concurrency,
                attributes=attributes,
                if_absent=if_absent,
            )
        except WORTH_ANOTHER_TRY as error:
            # Only whoever has the bytes can repeat it; what there is to learn of the failure is learned here.
            self._judge(error, began)
            raise

    def head(self, key: str) -> ObjectInfo:
        return self._look(lambda: ObstoreStore.head(self, key))

    def full_checksum(self, key: str) -> str | None:
        path = self._path(key)
        return self._look(lambda: self._repeated(lambda: read_checksum(self._signed, path)))

    def _look(self, look: Callable[[], Result]) -> Result:
        """Send a HEAD, whose answer has no body, so that one to credentials that have ended cannot say so."""

        def ask() -> Result:
            try:
                return look()
            except StoreIoError as error:
                raise CredentialsExpiredError(str(error), error.uri) from error

        def judge(error: StoreError, began: float) -> bool:
            return isinstance(error.__cause__, StoreIoError) and self._renew(began)

        try:
            return _OTHERS.call(ask, judge)
        except CredentialsExpiredError as error:
            raise (error.__cause__ if isinstance(error.__cause__, StoreIoError) else error) from None

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        below = self._below(prefix)
        uploads = self._repeated(lambda: [*list_uploads(self._signed, f"{below}/" if below else "")])
        return (UnfinishedUpload(self._key(upload.key), upload.id, upload.initiated) for upload in uploads)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        path = self._path(upload.key)
        self._repeated(lambda: abort(self._signed, path, upload.id))

    def _renew(self, before: float) -> bool:
        return self.site.credentials.renew(before)

    def _chosen(self) -> _Engines:
        """Return the engines, made at the first write, and anew if the store turned out to check checksums."""
        engines = self._engines
        sends = self.site.options.sends_crc64nvme or self._trust.is_proved
        if engines is not None and engines.checksums == sends:
            return engines
        with self._lock:
            if self._engines is None or self._engines.checksums != sends:
                site = self._engines.site if self._engines else self._choose_site()
                self._engines = self._make_engines(site, checksums=sends)
            return self._engines

    def _choose_site(self) -> S3Site:
        if self._accelerated is None:
            return self.site
        why = why_not_accelerated(SignedClient(self._accelerated))
        if why is None:
            return self._accelerated
        _log.warning("%s is written without S3 Transfer Acceleration: %s", self.uri, why)
        return self.site

    def _make_engines(self, site: S3Site, *, checksums: bool) -> _Engines:
        options = site.options
        boto = BotoWriter(site, self._repeated, checksums=checksums)
        usual: S3Writer = RustWriter(site, self._traits, checksums=checksums) if options.use_rust_client else boto
        large: S3Writer | None = None
        if options.crt_min_limit is not None:
            if can_serve(site):
                large = CrtWriter(site, self._repeated, checksums=checksums)
            else:
                _log.info("%s: crt_min_limit is ignored, because that client has no way through a proxy", self.uri)
        names = usual.name if large is None else f"{usual.name}, from {options.crt_min_limit} bytes on {large.name}"
        _log.debug("%s is written by %s, at %s", self.uri, names, site.url)
        return _Engines(site, checksums, usual, boto, large, options.crt_min_limit or 0)


def open_s3(uri: str, bucket: str, base: str, options: StoreOptions) -> S3Store:
    """Describe a bucket; nothing is sent.

    Raises
    ------
    InvalidUriError
        If the options contradict themselves or cannot be read.
    """
    traits = Traits(
        etags_are_md5=options.sse in (None, "AES256"),
        storage_class=options.storage_class,
        tags=dict(options.tags),
    )
    return S3Store(uri, base, traits, describe_site(bucket, options))
