"""Translate what obstore raises into our errors, once, in one sentence without secrets.

obstore has a class for the common cases. For the others the HTTP status, S3's error code, or the operating system's
error number stand only in the text, which goes on with a dump of the request; none of that dump is passed on.
"""

import errno
import os
import re
from dataclasses import dataclass
from typing import Literal

from obstore import exceptions as driver

from wildcast_server.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidKeyError,
    InvalidUriError,
    NetworkError,
    NoSuchBucketError,
    NotFoundError,
    RangeNotSatisfiableError,
    StoreError,
    StoreIoError,
    UnsupportedError,
)

Action = Literal["read", "written", "listed", "deleted"]

DRIVER_ERRORS = (driver.BaseError, OSError, ValueError, NotImplementedError)
"""What obstore's functions raise; it has no common base."""

_DENIED = {401, 403}
_UNSATISFIABLE = 416
_NOT_FOUND = 404
_UNAVAILABLE = {408, 429}
_SERVER_ERRORS = 500
_METADATA_SERVICE = "169.254.169.254"


@dataclass(frozen=True)
class _Failure:
    """What can be told from a driver error's text."""

    status: int | None
    code: str
    message: str
    errno: int | None
    reason: str
    network: bool
    """Whether it was on the way to a store that it failed."""
    credentials: bool
    """Whether it was the search for credentials that failed, at its last resort."""

    @property
    def answer(self) -> str:
        detail = f" ({self.message})" if self.message else ""
        return f"the store answered {self.status} {self.code}".rstrip() + detail


def curtail(error: BaseException) -> _Failure:
    """Read what an error says, and cut its own text down, because its dump may hold credentials."""
    text = str(error)
    failure = _parse(text)
    if failure.status is not None and not failure.credentials:
        error.args = (failure.answer,)
    elif "Debug source:" in text:
        error.args = (failure.reason,)
    return failure


def _parse(text: str) -> _Failure:
    head = text.partition("\n\nDebug source:")[0]
    answer = re.search(r"status code: (\d{3})[^:]*:?(.*)", head, re.DOTALL)
    body = answer[2] if answer else ""
    numbers = re.findall(r"\(os error (\d+)\)", head)
    return _Failure(
        status=int(answer[1]) if answer else None,
        code=_element(body, "Code"),
        message=_element(body, "Message"),
        errno=int(numbers[-1]) if numbers else None,
        reason=_reason(text),
        network="HTTP" in head or "reqwest" in text,
        credentials=_METADATA_SERVICE in head,
    )


def _element(body: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{1,300}})</{name}>", body)
    return found[1].strip().rstrip(".") if found else ""


def _reason(text: str) -> str:
    """Say why there was no answer at all."""
    provider = re.search(r"External AWS credential provider: LookupError: ([^\n]{1,300})", text)
    if provider:
        return provider[1]
    if "certificate" in text:
        return "its TLS certificate is not trusted; name the authority's certificate as ca_bundle"
    if "kind: Connect" in text or "Connect," in text:
        return "it could not be connected to; check the endpoint"
    if "TimedOut" in text or "kind: Timeout" in text:
        return "it did not answer in time"
    if "BadScheme" in text:
        return "its endpoint has a scheme that is not allowed"
    first = re.sub(r"\S+://\S+", "…", text.partition("\n")[0])
    return first.removeprefix("Generic ").strip()[:200] or "it gave no reason"


def translate(error: Exception, uri: str, action: Action) -> StoreError:
    """Return the error to raise in place of `error`, which is left without anything secret."""
    failure = curtail(error)
    what = f"{uri} could not be {action}"
    by_class = _by_class(error, failure, uri, what, action)
    return by_class or _by_failure(failure, uri, what, action)


def _by_class(error: Exception, failure: _Failure, uri: str, what: str, action: Action) -> StoreError | None:
    match error:
        case FileNotFoundError():
            return _not_found(failure, uri, what, action)
        case driver.AlreadyExistsError() | driver.PreconditionError():
            return AlreadyExistsError(f"{uri} exists already", uri)
        case driver.PermissionDeniedError() | driver.UnauthenticatedError() | PermissionError():
            return _denied(failure, uri, what)
        case driver.NotSupportedError() | NotImplementedError():
            return UnsupportedError(f"{what}: this kind of store cannot do that", uri)
        case driver.InvalidPathError() | ValueError():
            return InvalidKeyError(f"{what}: the store cannot hold such a key", uri)
    return None


def _not_found(failure: _Failure, uri: str, what: str, action: Action) -> StoreError:
    if failure.code == "NoSuchUpload":
        return StoreIoError(f"{what}: the store lost the multipart upload; try again", uri)
    # Nothing that is written or listed can be missing, except the bucket that it is in.
    if failure.code in ("NoSuchBucket", "ContainerNotFound") or action in ("written", "listed"):
        return NoSuchBucketError(f"{what}: there is no such bucket; create it, or name another", uri)
    return NotFoundError(f"{uri} does not exist", uri)


def _denied(failure: _Failure, uri: str, what: str) -> AccessDeniedError:
    why = f"access denied, {failure.answer}" if failure.status else failure.reason
    return AccessDeniedError(f"{what}: {why}; check the credentials and what they allow", uri)


def _by_failure(failure: _Failure, uri: str, what: str, action: Action) -> StoreError:
    if failure.credentials:
        return AccessDeniedError(f"{what}: no AWS credentials were found; set them, or name a profile", uri)
    if failure.errno is not None:
        return _os_error(failure.errno, uri, what, action)
    if failure.status is None:
        kind = NetworkError if failure.network else StoreIoError
        return kind(f"{what}: {failure.reason}", uri)
    return _answer(failure, failure.status, uri, what, action)


def _answer(failure: _Failure, status: int, uri: str, what: str, action: Action) -> StoreError:
    if status == _NOT_FOUND:
        return _not_found(failure, uri, what, action)
    if status == _UNSATISFIABLE:
        return unsatisfiable(uri)
    if status in _DENIED:
        return _denied(failure, uri, what)
    if status >= _SERVER_ERRORS or status in _UNAVAILABLE:
        return NetworkError(f"{what}: {failure.answer}; it may be overloaded, try again later", uri)
    return StoreIoError(f"{what}: {failure.answer}", uri)


def _os_error(number: int, uri: str, what: str, action: Action) -> StoreError:
    if number in (errno.ENOTDIR, errno.EISDIR):
        if action == "written":
            return InvalidKeyError(f"{what}: a store of files cannot hold both a file and something below it", uri)
        return NotFoundError(f"{uri} does not exist", uri)
    if number == errno.ENAMETOOLONG:
        return InvalidKeyError(f"{what}: the name is too long for the file system", uri)
    if number in (errno.EACCES, errno.EPERM):
        return AccessDeniedError(f"{what}: the file system refuses it; check the directory's owner and mode", uri)
    return StoreIoError(f"{what}: {os.strerror(number)}", uri)


def file_error(error: OSError, uri: str) -> StoreError:
    """Return the error to raise in place of one that the operating system raised as a file was read."""
    # A socket cannot be opened at all: no such device.
    if isinstance(error, FileNotFoundError) or error.errno == errno.ENXIO:
        return NotFoundError(f"{uri} does not exist", uri)
    return _os_error(error.errno or errno.EIO, uri, f"{uri} could not be read", "read")


def unsatisfiable(uri: str) -> RangeNotSatisfiableError:
    """Return the error of a range that has no byte of the object in it."""
    return RangeNotSatisfiableError(f"the range asked for begins at or behind the end of {uri}", uri)


def cannot_open(error: Exception, uri: str) -> InvalidUriError:
    """Return the error of a store that cannot even be described."""
    return InvalidUriError(f"{uri} cannot be opened: {curtail(error).reason}", uri)
