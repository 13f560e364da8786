"""Everything that the client raises on purpose.

    WildcastError
    ├── ApiError                     (has `status` and `details`)
    │   ├── UnknownWorkflowError     (LookupError)
    │   ├── UnknownExecutionError    (LookupError)
    │   ├── InvalidParametersError   (ValueError; has `fields`)
    │   ├── NotAuthorizedError       (PermissionError)
    │   ├── ConflictError
    │   │   └── IdempotencyConflictError
    │   ├── ServerBusyError          (has `retry_after`)
    │   ├── ServerUnavailableError   (ConnectionError; has `retry_after`)
    │   ├── UnsupportedError
    │   └── UnexpectedAnswerError
    ├── ExecutionError               (has `execution_id`)
    │   ├── ExecutionFailedError     (has `reason`)
    │   ├── ExecutionCancelledError
    │   ├── ResultsExpiredError
    │   ├── ResultsPendingError
    │   └── WaitTimeoutError         (TimeoutError)
    ├── ReadError                    (OSError; has `status`)
    │   ├── MissingFileError         (FileNotFoundError)
    │   │   └── NotAFileError        (IsADirectoryError)
    │   ├── AccessRefusedError       (PermissionError)
    │   │   ├── UrlExpiredError
    │   │   └── OriginRefusedError
    │   ├── LostObjectError
    │   ├── PendingFileError
    │   ├── ResultChangedError
    │   ├── TransferBrokenError
    │   │   └── StaleObjectError
    │   ├── StoreUnavailableError    (has `retry_after`)
    │   ├── RangeNotSatisfiableError
    │   ├── NoListingError
    │   ├── DamagedManifestError
    │   ├── UnsafeDataError
    │   └── ReadOnlyError            (io.UnsupportedOperation)
    ├── DatasetError                 (LookupError)
    ├── UnsafePathError              (ValueError)
    ├── InvalidPatternError          (ValueError)
    ├── DiskFullError                (OSError)
    ├── ConfigError                  (ValueError)
    └── InvalidUrlError              (ValueError)

Only a `MissingFileError` means that something was never written, so only that may be read as fill values: whoever reads
zarr treats a `FileNotFoundError` so. No message ever holds a signature or a token.
"""

import io
from typing import Any, ClassVar


class WildcastError(Exception):
    """The base of all of them."""


class ApiError(WildcastError):
    """The API answered with an error, or not at all.

    Parameters
    ----------
    message
        What happened, in the server's own words where it said something.
    status
        The HTTP status; None without an answer.
    details
        The particulars that the server sent.
    """

    advice: ClassVar[str] = ""
    """What to do next, where the server's own sentence does not say."""

    def __init__(self, message: str, status: int | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.details = details

    def __str__(self) -> str:
        # LookupError's and OSError's own forms would decorate the sentence.
        return harmless(str(self.args[0]))

    @property
    def said(self) -> str:
        """What happened, without the advice."""
        return str(self).removesuffix(f"; {self.advice}.")

    @classmethod
    def advised(cls, sentence: str) -> str:
        """Return what the server says, and what to do next."""
        return f"{sentence.rstrip('. ')}; {cls.advice}." if cls.advice else sentence


class UnknownWorkflowError(ApiError, LookupError):
    """The server exposes no workflow of that name; `Client.workflows` lists those that it does."""

    advice = "Client.workflows() lists those that there are"


class UnknownExecutionError(ApiError, LookupError):
    """The server knows no such execution, or none of that workflow; `Client.executions` lists those that it does."""

    advice = "Client.executions() lists those that there are"


class InvalidParametersError(ApiError, ValueError):
    """The workflow does not accept these parameters; `fields` says which and why."""

    advice = "Client.schema(workflow) says what it takes"

    @property
    def fields(self) -> list[dict[str, Any]]:
        """One entry a field, as the server describes it: ``field`` and ``message`` at least."""
        found = self.details.get("fields", ()) if isinstance(self.details, dict) else self.details
        return [entry for entry in found or () if isinstance(entry, dict)]


class NotAuthorizedError(ApiError, PermissionError):
    """The server does not accept the token, or wants one; ``wildcast login`` keeps one for it.

    Or give it as `token`, or in ``WILDCAST_TOKEN``, which is sent to the server of ``WILDCAST_URL`` alone.
    """

    advice = (
        "log in with `wildcast login`, or give another token as `token`, or in WILDCAST_TOKEN with this server in "
        "WILDCAST_URL"
    )


class ConflictError(ApiError):
    """What was asked for does not fit where the execution stands: to retry one that has completed, say."""


class IdempotencyConflictError(ConflictError):
    """Another request came with the same idempotency key before; give each request a key of its own."""

    advice = "give this request a key of its own, or submit exactly what came with that key before"


class ServerBusyError(ApiError):
    """The server takes no further executions now; `retry_after` says in how many seconds it may, if it said so."""

    advice = "try again later"
    retry_after: float | None = None


class ServerUnavailableError(ApiError, ConnectionError):
    """The server cannot be reached, or is out of order; `retry_after` says when to try, in seconds, if it said so."""

    after_submission: ClassVar[str] = "look at executions() before you submit it again"
    """What to do where nobody knows whether a submission has arrived."""

    retry_after: float | None = None


class UnsupportedError(ApiError):
    """The server does not have that call at all: Earth2Studio's has few, an older wildcast not all of them."""

    advice = "this server cannot do that: it may be Earth2Studio's, or an older wildcast"


class UnexpectedAnswerError(ApiError):
    """Something answered that is not the API: a proxy's page, another service, or another version."""


class ExecutionError(WildcastError):
    """An execution has no results to read.

    Parameters
    ----------
    message
        What happened, and what to do.
    execution_id
        The execution that it is about.
    """

    def __init__(self, message: str, execution_id: str = "") -> None:
        super().__init__(message)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return str(self.args[0])


class ExecutionFailedError(ExecutionError):
    """The execution ended with an error.

    Parameters
    ----------
    message
        What happened.
    execution_id
        The execution that failed.
    reason
        The server's own account of it.
    """

    def __init__(self, message: str, execution_id: str = "", reason: str = "") -> None:
        super().__init__(message, execution_id)
        self.reason = reason


class ExecutionCancelledError(ExecutionError):
    """The execution was cancelled before it had results."""


class ResultsExpiredError(ExecutionError):
    """The results were kept for their time and have been removed; submit again."""


class ResultsPendingError(ExecutionError):
    """The execution has not ended yet; `Execution.wait` waits for it."""


class WaitTimeoutError(ExecutionError, TimeoutError):
    """The execution did not end in the time given; it goes on, and can be waited for again."""


class ReadError(WildcastError, OSError):
    """A file of a result could not be read.

    Parameters
    ----------
    message
        What happened; it may hold what somebody else wrote, such as a name or a header.
    """

    status: int | None = None
    """The HTTP status that said so; None where none did."""

    def __init__(self, message: str) -> None:
        super().__init__(harmless(message))


class MissingFileError(ReadError, FileNotFoundError):
    """The file was never part of the result."""

    advice: ClassVar[str] = "its `paths` say what there is"
    """What to do next."""

    @classmethod
    def advised(cls, sentence: str) -> str:
        """Return what is the matter, and what to do next."""
        return f"{sentence}; {cls.advice}."


class NotAFileError(MissingFileError, IsADirectoryError):
    """It is a directory, whose files can be listed and read."""

    advice = "`fs.ls` lists what is in it, and `download` brings all of it"


class AccessRefusedError(ReadError, PermissionError):
    """The CDN or the API refused the request; the file may well exist, unless the API says that it has expired."""


class UrlExpiredError(AccessRefusedError):
    """The signed URL has ended; ask the API for a new one."""


class OriginRefusedError(AccessRefusedError):
    """The CDN took the signature, and the store behind it refused the CDN.

    So S3 answers for an object that is missing, too, where the CDN may not list the bucket: whether it was never
    written or is forbidden cannot be told. With a manifest, or with ``s3:ListBucket`` for the distribution, it can.
    """


class LostObjectError(ReadError):
    """The manifest lists the file, but the store does not have it any more: a defect, not a gap in the data."""


class PendingFileError(ReadError):
    """A partial result lacks the file so far; while the execution runs, it may still come."""


class ResultChangedError(ReadError):
    """The execution was published anew under another prefix while its earlier publication was being read."""


class TransferBrokenError(ReadError):
    """What arrived is not what was asked for: cut short, of another size, or changed on its way."""


class StaleObjectError(TransferBrokenError):
    """The CDN or the store has another version of the file than the manifest lists, or than was opened.

    By size, ETag or checksum.
    """


class StoreUnavailableError(ReadError):
    """The CDN or the store cannot answer now, and could not in several tries.

    Parameters
    ----------
    message
        What happened.
    retry_after
        In how many seconds the server says that it can.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RangeNotSatisfiableError(ReadError):
    """A range that begins at or behind the file's end.

    Where the manifest tells that end, the text holds "not satisfiable", which zarr reads as an empty object. Where only
    the CDN says so, it does not: the object may have been cut off.

    Parameters
    ----------
    message
        What happened, in which a name stands as `shown` gives it.
    """

    def __init__(self, message: str) -> None:
        OSError.__init__(self, message)  # Here the words may be meant.


class NoListingError(ReadError):
    """A listing was asked for, and nothing says which files there are."""


class DamagedManifestError(ReadError):
    """The manifest cannot be understood."""


class UnsafeDataError(ReadError):
    """The data can only be decoded by running code that they bring along, as pickled objects do; nothing is read."""


class ReadOnlyError(ReadError, io.UnsupportedOperation):
    """Results are read, never written."""


class DatasetError(WildcastError, LookupError):
    """The result has no such dataset, or several and none was named."""


class UnsafePathError(WildcastError, ValueError):
    """A path that would leave the directory it is to be downloaded into, or would be no file of its own there."""


class InvalidPatternError(WildcastError, ValueError):
    """A pattern of paths that cannot be read, such as ``a**``."""


class ConfigError(WildcastError, ValueError):
    """The file of ``~/.config/wildcast`` cannot be used; the sentence says how to mend it."""


class DiskFullError(WildcastError, OSError):
    """There is less free space than a download needs; nothing was downloaded."""


class InvalidUrlError(WildcastError, ValueError):
    """A URL that is neither the API's nor a wildcard signed one, or does not name the result that it is for."""


def shown(path: str) -> str:
    """Quote a path for a message."""
    return harmless(repr(path))


def harmless(text: str) -> str:
    """Return what somebody else wrote, for a message: zarr reads meaning into two words, which are kept apart."""
    return text.replace("not satisfiable", "not-satisfiable")
