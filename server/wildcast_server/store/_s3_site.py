"""Where a bucket is, and who speaks to it: what every engine needs to know."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from wildcast_server.errors import InvalidUriError
from wildcast_server.store._s3_credentials import CredentialSource, credential_source
from wildcast_server.store.options import StoreOptions


@dataclass(frozen=True)
class S3Site:
    """A bucket at an endpoint."""

    bucket: str
    service: str
    """URL of the service, without the bucket and without a trailing slash."""
    virtual: bool
    """Whether the bucket is part of the host name rather than of the path."""
    options: StoreOptions
    credentials: CredentialSource
    accelerated: bool = False
    """Whether it is the endpoint of S3 Transfer Acceleration."""

    @property
    def url(self) -> str:
        """The URL below which the bucket's objects lie, or, if the bucket is part of the path, the buckets."""
        if not self.virtual:
            return self.service
        scheme, _, host = self.service.partition("://")
        return f"{scheme}://{self.bucket}.{host}"

    @property
    def is_encrypted(self) -> bool:
        """Whether requests go through TLS."""
        return self.service.startswith("https://")

    @property
    def signs_bodies(self) -> bool:
        """Whether signatures cover the bodies, which costs a SHA-256 of all: where somebody may sit in between."""
        return not self.is_encrypted and not _is_loopback(urlsplit(self.service).hostname or "")

    def uri_of(self, path: str) -> str:
        """Return the URI of the object at `path`, or of the bucket."""
        return f"s3://{self.bucket}/{path}".rstrip("/")

    def accelerate(self) -> "S3Site | None":
        """Return the accelerated endpoint, where there can be one.

        There is none with a custom endpoint, nor with a dot in the bucket's name (Amazon S3 User Guide, "Getting
        started with Amazon S3 Transfer Acceleration").
        """
        if not self.options.acceleration or self.options.endpoint_url is not None or "." in self.bucket:
            return None
        return replace(self, service="https://s3-accelerate.amazonaws.com", virtual=True, accelerated=True)


def _is_loopback(host: str) -> bool:
    """Whether this is an address, no name, that only this machine has."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(site: S3Site) -> str | None:
    """Return the proxy on the way to a bucket: the configured one, else the environment's, or none."""
    if site.options.proxy_url:
        return site.options.proxy_url
    parts = urlsplit(site.url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def describe_site(bucket: str, options: StoreOptions) -> S3Site:
    """Describe a bucket; nothing is sent.

    Raises
    ------
    InvalidUriError
        If the endpoint cannot be used.
    """
    return S3Site(
        bucket, service_endpoint(options), options.use_virtual_addressing, options, credential_source(options)
    )


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
