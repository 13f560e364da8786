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
    CredentialsExpiredError,
    InvalidKeyError,
    InvalidUriError,
    NetworkError,
    NoSuchBucketError,
    NotFoundError,
    RangeNotSatisfiableError,
    SlowDownError,
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
_PRECONDITION_FAILED = {304, 412}
_NOT_IMPLEMENTED = {405, 501}
_TIMED_OUT = 408
_TOO_MANY = 429
_UNAVAILABLE = 503
_SERVER_ERRORS = 500

_DAMAGED = {
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "ContentSHA256Mismatch",
    "Md5Mismatch",
}
"""Codes of a body that is not what its checksum, or its length, says: something happened to it on its way."""

UNTRUSTED = "its TLS certificate is not trusted; name the authority's certificate as ca_bundle"

_SLOW_DOWN = {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServerBusy", "TooManyRequests", "RequestLimitExceeded"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed"}
_PASSING = {"RequestTimeout", "InternalError", "ConditionalRequestConflict", "OperationAborted"}

_CODES: tuple[tuple[set[str], type[StoreError], str], ...] = (
    (_EXPIRED, CredentialsExpiredError, "the credentials have ended, or the clock is wrong: renew them, or set it"),
    (_SLOW_DOWN, SlowDownError, "it asks for fewer requests, try again later"),
    (_DAMAGED, NetworkError, "the bytes were damaged on their way, try again"),
    (_PASSING, NetworkError, "try again later"),
    ({"NoSuchUpload"}, NetworkError, "the multipart upload is gone, begin it again"),
)
"""What may succeed when it is repeated (Amazon S3 API Reference, "Error responses"), and what to do about it."""

_REASONS = (
    (("certificate",), UNTRUSTED),
    (("ConnectionReset", "IncompleteMessage", "BrokenPipe"), "the connection broke off"),
    (("kind: Connect", "Connect,"), "it could not be connected to; check the endpoint"),
    (("TimedOut", "kind: Timeout"), "it did not answer in time"),
    (("BadScheme",), "its endpoint has a scheme that is not allowed"),
)
"""What there is in obstore's text, and what it means, the more telling first."""

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
    credentials: bool = False
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
        code=element_of(body, "Code"),
        message=element_of(body, "Message"),
        errno=int(numbers[-1]) if numbers else None,
        reason=_reason(text),
        network=not head.startswith("Generic LocalFileSystem") and ("HTTP" in head or "reqwest" in text),
        credentials=_METADATA_SERVICE in head,
    )


def element_of(body: str, name: str) -> str:
    """Return the text of the first element of that name in S3's XML, if it is short and plain."""
    found = re.search(rf"<{name}>([^<]{{1,300}})</{name}>", body)
    return found[1].strip().rstrip(".") if found else ""


def _reason(text: str) -> str:
    """Say why there was no answer at all."""
    provider = re.search(r"External AWS credential provider: \w+: ([^\n]{1,300})", text)
    if provider:
        return provider[1]
    for signs, meaning in _REASONS:
        if any(sign in text for sign in signs):
            return meaning
    first = re.sub(r"\S+://\S+", "…", text.partition("\n")[0])
    return first.removeprefix("Generic ").strip()[:200] or "it gave no reason"


def translate(error: Exception, uri: str, action: Action) -> StoreError:
    """Return the error to raise in place of `error`, which is left without anything secret."""
    failure = curtail(error)
    what = f"{uri} could not be {action}"
    return (
        _by_code(failure, uri, what)
        or _by_class(error, failure, uri, what, action)
        or _by_failure(failure, uri, what, action)
    )


def refused(status: int, body: str, uri: str, action: Action) -> StoreError:
    """Return the error of an answer that is none of success: its status, and S3's XML if there is any."""
    failure = _Failure(status, element_of(body, "Code"), element_of(body, "Message"), None, "", network=True)
    what = f"{uri} could not be {action}"
    return _by_code(failure, uri, what) or _answer(failure, status, uri, what, action)


def unanswered(uri: str, action: Action, why: str) -> NetworkError:
    """Return the error of a request that no answer came to."""
    return NetworkError(f"{uri} could not be {action}: {why}", uri)


def uncredentialed(uri: str, action: Action, why: object) -> AccessDeniedError:
    """Return the error of a request that nobody could sign."""
    return AccessDeniedError(f"{uri} could not be {action}: {why}", uri)


def _by_code(failure: _Failure, uri: str, what: str) -> StoreError | None:
    """Tell what may pass by the store's own code, which some drivers' classes do not tell."""
    if failure.status is None:
        return None
    for codes, kind, advice in _CODES:
        if failure.code in codes:
            return kind(f"{what}: {failure.answer}; {advice}", uri)
    return None


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
    if failure.errno is not None and not failure.network:
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
    if status in _PRECONDITION_FAILED and action == "written":
        return AlreadyExistsError(f"{uri} exists already", uri)
    kind, advice = _kind(failure, status)
    return kind(f"{what}: {failure.answer}{advice}", uri)


def _kind(failure: _Failure, status: int) -> tuple[type[StoreError], str]:
    if status in _NOT_IMPLEMENTED:
        return UnsupportedError, ""
    # An answer to HEAD has no code to tell an outage from a request for patience.
    if status == _TOO_MANY or (status == _UNAVAILABLE and not failure.code):
        return SlowDownError, "; it asks for fewer requests, try again later"
    if status >= _SERVER_ERRORS or status == _TIMED_OUT:
        return NetworkError, "; it may be overloaded, try again later"
    return StoreIoError, ""


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
