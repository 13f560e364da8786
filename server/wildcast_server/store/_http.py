"""What the Rust client needs to know of HTTP, whatever it speaks to: time-outs, proxy, certificates, repetitions."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wildcast_server.errors import InvalidUriError
from wildcast_server.store.options import CONNECT_TIMEOUT, StoreOptions
from wildcast_server.store.retry import RetryPolicy

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(0)}
"""For requests that are repeated by a `RetryPolicy`, which sees each failure."""

SLOWEST = 128 << 10
"""Bytes of a body that a second is allowed for."""

SMALL = 128 << 10
"""Bodies up to this size, in bytes, share a short time-out."""

_MAX_RETRIES = 10
_SIGNATURE_GROWS_OLD = timedelta(minutes=3)


def size_class(size: int, part_size: int) -> int:
    """Round a body's size up, so that few clients do for all: small, up to a usual part, and each doubling beyond."""
    if size <= SMALL:
        return SMALL
    return part_size if size <= part_size else 1 << (size - 1).bit_length()


def response_timeout(options: StoreOptions, size: int) -> float:
    """Return for how many seconds a store may be silent that is sent a body of `size` bytes."""
    return options.response_timeout + size / SLOWEST


def client_options(options: StoreOptions, endpoint: str = "", size: int | None = None) -> "ClientConfig":
    """Return obstore's HTTP settings for requests whose bodies have at most `size` bytes; None means a part's size.

    Its own limit of 30 seconds a request counts the body, which would cut off whoever reads slowly; so the whole may
    take a day. The time-out ends the wait until the answer begins, in which the sending of the request's body counts
    too, and again the wait between two pieces of the answer.
    """
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": timedelta(days=1),
        "read_timeout": timedelta(seconds=response_timeout(options, options.part_size if size is None else size)),
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
    most = _MAX_RETRIES if options.max_retries is None else options.max_retries
    deadline = min(timedelta(seconds=options.retry_deadline), _SIGNATURE_GROWS_OLD)
    return {"max_retries": most, "retry_timeout": deadline}


def retry_policy(options: StoreOptions) -> RetryPolicy:
    """Return how single requests are repeated by us."""
    return RetryPolicy(options.retry_deadline, max_retries=options.max_retries)
