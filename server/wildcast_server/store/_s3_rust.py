"""Writing by the Rust client, obstore."""

from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store as S3Driver

from wildcast_server.errors import UnsupportedError
from wildcast_server.store._begun import begin_put
from wildcast_server.store._errors import DRIVER_ERRORS, cannot_open, translate
from wildcast_server.store._http import NO_RETRIES, SMALL, client_options, retry_config, size_class
from wildcast_server.store._s3_site import S3Site
from wildcast_server.store._s3_writer import S3Writer
from wildcast_server.store._traits import Parts, Traits, driver_attributes
from wildcast_server.store.base import Later, ObjectAttributes, PutEnded

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ObjectStore as Driver
    from obstore.store import S3Config


class RustWriter(S3Writer):
    """Writes by drivers that differ in how long they wait, and in whether they repeat requests by themselves.

    Parameters
    ----------
    site
        Where to.
    checksums
        Whether to send a CRC64NVME along.
    traits
        What every object gets.
    """

    name = "the Rust client"
    begins = True

    def __init__(self, site: S3Site, traits: Traits, *, checksums: bool) -> None:
        self._site = site
        self._checksums = checksums
        self._traits = traits
        self._tags = traits.tags or None
        self._attributes: dict[ObjectAttributes | None, Attributes | None] = {}
        self._lock = Lock()
        self._drivers: dict[tuple[int, bool], Driver] = {}
        self._small = self._driver(SMALL, retries=False)

    def put(self, path: str, data: bytes, attributes: ObjectAttributes | None, *, if_absent: bool) -> str | None:
        try:
            return obstore.put(
                self._small if len(data) <= SMALL else self._driver(len(data), retries=False),
                path,
                data,
                use_multipart=False,
                mode="create" if if_absent else "overwrite",
                attributes=self._driver_attributes(attributes),
                tags=self._tags,
            )["e_tag"]
        except DRIVER_ERRORS as error:
            raise translate(error, self._site.uri_of(path), "written") from error

    def begin_put(
        self, path: str, data: bytes, attributes: ObjectAttributes | None, ended: PutEnded, later: Later
    ) -> None:
        driver = self._small if len(data) <= SMALL else self._driver(len(data), retries=False)
        described = self._driver_attributes(attributes)
        begin_put(driver, path, data, ended, later, attributes=described, tags=self._tags)

    def translated(self, path: str, error: BaseException) -> BaseException:
        if isinstance(error, DRIVER_ERRORS):
            return translate(error, self._site.uri_of(path), "written")
        return error

    def put_parts(
        self,
        path: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None,
        if_absent: bool,
    ) -> str | None:
        if if_absent:
            uri = self._site.uri_of(path)
            raise UnsupportedError(f"{uri}: the Rust client cannot create a large object only if there is none", uri)
        source = Parts(parts)
        try:
            return obstore.put(
                self._driver(part_size, retries=True),
                path,
                iter(source),
                chunk_size=part_size,
                max_concurrency=concurrency,
                attributes=self._driver_attributes(attributes),
                tags=self._tags,
            )["e_tag"]
        except DRIVER_ERRORS as error:
            raise source.translate(error, self._site.uri_of(path)) from error

    def _driver(self, size: int, *, retries: bool) -> "Driver":
        """Return the driver for bodies of `size` bytes."""
        rounded = size_class(size, self._site.options.part_size)
        with self._lock:
            if (rounded, retries) not in self._drivers:
                made = make_driver(self._site, size=rounded, retries=retries, checksums=self._checksums)
                self._drivers[rounded, retries] = made
            return self._drivers[rounded, retries]

    def _driver_attributes(self, attributes: ObjectAttributes | None) -> "Attributes | None":
        known = self._attributes
        try:
            return known[attributes]
        except KeyError:
            made = known[attributes] = driver_attributes(attributes, self._traits)
            return made


def make_driver(site: S3Site, *, size: int, retries: bool, checksums: bool = False) -> "Driver":
    """Make a driver for requests whose bodies have up to `size` bytes.

    Raises
    ------
    InvalidUriError
        If the options cannot be used.
    """
    options = site.options
    try:
        return S3Driver(
            site.bucket,
            config=_config(site, checksums=checksums),
            client_options=client_options(options, site.url, size),
            retry_config=retry_config(options) if retries else NO_RETRIES,
            credential_provider=site.credentials.for_driver,
        )
    except DRIVER_ERRORS as error:
        raise cannot_open(error, site.uri_of("")) from error


def _config(site: S3Site, *, checksums: bool) -> "S3Config":
    options = site.options
    config: S3Config = {
        "region": options.region,
        "endpoint": site.url,
        "aws_endpoint_url_s3": site.url,
        "virtual_hosted_style_request": site.virtual,
        "unsigned_payload": not site.signs_bodies,
    }
    if checksums:
        config["checksum_algorithm"] = "CRC64NVME"
    if options.sse:
        config["server_side_encryption"] = options.sse
    if options.sse_kms_key_id:
        config["sse_kms_key_id"] = options.sse_kms_key_id
    return config
