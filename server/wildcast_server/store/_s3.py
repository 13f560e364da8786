"""S3, and what is compatible with it, over obstore."""

import logging
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store as S3Driver

from wildcast_server.errors import InvalidUriError
from wildcast_server.store._errors import DRIVER_ERRORS, cannot_open, curtail
from wildcast_server.store._obstore import ObstoreStore, Traits
from wildcast_server.store._s3_boto import ChecksumReader
from wildcast_server.store._s3_credentials import credential_provider
from wildcast_server.store.options import CONNECT_TIMEOUT, StoreOptions

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config
    from obstore.store import ObjectStore as Driver

_log = logging.getLogger(__name__)

_BAD_REQUEST = 400


class S3Store(ObstoreStore):
    """A bucket, or what lies below a prefix of one.

    Parameters
    ----------
    uri, driver, base, traits
        As `ObstoreStore` has them.
    checksums
        Reads full-object checksums.
    accelerated
        A driver that writes through S3 Transfer Acceleration, or None.
    """

    def __init__(
        self,
        uri: str,
        driver: "Driver",
        base: str,
        traits: Traits,
        *,
        checksums: ChecksumReader,
        accelerated: "Driver | None" = None,
    ) -> None:
        super().__init__(uri, driver, base, traits)
        self._checksums = checksums
        self._accelerated = accelerated
        self._lock = Lock()
        self._chosen: Driver | None = driver if accelerated is None else None

    def full_checksum(self, key: str) -> str | None:
        return self._checksums(self._path(key), self._uri_of(key))

    def _writer(self) -> "Driver":
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> "Driver":
        """Ask the accelerated endpoint for anything: it answers 400 for a bucket that does not have it enabled."""
        accelerated = self._accelerated
        if accelerated is None:
            return self._driver
        try:
            obstore.get(accelerated, "acceleration-probe")
        except DRIVER_ERRORS as error:
            failure = curtail(error)
            if failure.status is None or failure.status == _BAD_REQUEST:
                why = failure.message or failure.reason
                _log.warning("%s is written without S3 Transfer Acceleration: %s", self.uri, why)
                return self._driver
        return accelerated


def open_s3(uri: str, bucket: str, base: str, options: StoreOptions) -> S3Store:
    """Describe a bucket; nothing is sent.

    Raises
    ------
    InvalidUriError
        If the options contradict themselves or cannot be read.
    """
    service = service_endpoint(options)
    driver = _driver(uri, bucket, options, _with_bucket(service, bucket, virtual=options.use_virtual_addressing))
    traits = Traits(
        checks_crc64nvme=_trusts(options),
        etags_are_md5=options.sse in (None, "AES256"),
        storage_class=options.storage_class,
        tags=dict(options.tags),
    )
    checksums = ChecksumReader(bucket, service, options)
    return S3Store(uri, driver, base, traits, checksums=checksums, accelerated=_accelerated(uri, bucket, options))


def _trusts(options: StoreOptions) -> bool:
    if options.trust_checksums is not None:
        return options.trust_checksums
    return options.sends_crc64nvme and options.endpoint_url is None


def service_endpoint(options: StoreOptions) -> str:
    """Return the URL of the service, without a trailing slash.

    Always a definite one: obstore and boto3 would else take it from the environment behind our settings' back.

    Raises
    ------
    InvalidUriError
        If the configured one is no HTTP URL, or has a password in it.
    """
    if options.endpoint_url is None:
        domain = "amazonaws.com.cn" if options.region.startswith("cn-") else "amazonaws.com"
        return f"{options.scheme}://s3.{options.region}.{domain}"
    url = options.endpoint_url if "://" in options.endpoint_url else f"{options.scheme}://{options.endpoint_url}"
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise InvalidUriError("the endpoint must not hold a user or password: use the access key settings")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidUriError(f"the endpoint {url!r} is no URL such as https://minio.example.org:9000")
    return url.rstrip("/")


def _with_bucket(service: str, bucket: str, *, virtual: bool) -> str:
    if not virtual:
        return service
    scheme, _, host = service.partition("://")
    return f"{scheme}://{bucket}.{host}"


def _accelerated(uri: str, bucket: str, options: StoreOptions) -> "Driver | None":
    """Make the accelerated driver (Amazon S3 User Guide, "Getting started with Amazon S3 Transfer Acceleration")."""
    if not options.acceleration or options.endpoint_url is not None or "." in bucket:
        return None
    return _driver(uri, bucket, options, f"https://{bucket}.s3-accelerate.amazonaws.com", virtual=True)


def _driver(uri: str, bucket: str, options: StoreOptions, endpoint: str, *, virtual: bool | None = None) -> S3Driver:
    style = options.use_virtual_addressing if virtual is None else virtual
    try:
        return S3Driver(
            bucket,
            config=_config(options, endpoint, virtual=style),
            client_options=client_options(options, endpoint),
            retry_config=retry_config(options),
            credential_provider=credential_provider(options),
        )
    except DRIVER_ERRORS as error:
        raise cannot_open(error, uri) from error


def _config(options: StoreOptions, endpoint: str, *, virtual: bool) -> "S3Config":
    config: S3Config = {
        "region": options.region,
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": virtual,
        # TLS protects the bytes already; signing them would cost a SHA-256 of all.
        "unsigned_payload": endpoint.startswith("https://"),
    }
    if options.sends_crc64nvme:
        config["checksum_algorithm"] = "CRC64NVME"
    if options.sse:
        config["server_side_encryption"] = options.sse
    if options.sse_kms_key_id:
        config["sse_kms_key_id"] = options.sse_kms_key_id
    return config


def client_options(options: StoreOptions, endpoint: str = "") -> "ClientConfig":
    """Return obstore's HTTP settings.

    Its own limit of 30 seconds a request counts the body, which would cut off whoever reads slowly; so the whole may
    take a day. Five minutes end it until the answer begins, in which the sending of the request's body counts too, and
    again between two pieces of the answer. A host that cannot be connected to is given up after a minute, all
    repetitions included.
    """
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": timedelta(days=1),
        "read_timeout": timedelta(minutes=5),
    }
    if options.proxy_url:
        client["proxy_url"] = options.proxy_url
    if options.ca_bundle:
        client["root_certificate"] = _read_certificates(options.ca_bundle)
    return client


def _read_certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidUriError(f"the ca_bundle {path} cannot be read: {error.strerror}") from error


def retry_config(options: StoreOptions) -> "RetryConfig":
    """Return obstore's retry settings; no request is repeated after three minutes, for its signature grows old."""
    return {"max_retries": options.max_retries, "retry_timeout": timedelta(minutes=3)}
