"""Everything that wildcast's server raises on purpose.

    WildcastServerError
    ├── SettingsError                (ValueError)
    ├── WorkflowError                (has `provenance`)
    │   ├── UnknownWorkflowError     (LookupError)
    │   ├── WorkflowLoadError
    │   ├── InvalidParametersError   (ValueError)
    │   ├── WorkflowFailedError
    │   ├── RunnerDiedError
    │   └── ExecutionCancelledError
    ├── RecordError
    │   ├── UnknownExecutionError    (LookupError)
    │   ├── StatusConflictError
    │   ├── IdempotencyConflictError
    │   ├── NoResultsError           (has `status`)
    │   └── SchemaMismatchError
    ├── ServiceUnavailableError
    │   └── QueueFullError           (has `retry_after`)
    ├── StoreError                   (has `uri`)
    │   ├── NotFoundError            (FileNotFoundError, KeyError)
    │   ├── NoSuchBucketError
    │   ├── AlreadyExistsError       (FileExistsError)
    │   ├── AccessDeniedError        (PermissionError)
    │   │   └── CredentialsExpiredError
    │   ├── InvalidUriError          (ValueError)
    │   ├── InvalidKeyError          (ValueError)
    │   ├── RangeNotSatisfiableError
    │   ├── NetworkError
    │   │   └── SlowDownError
    │   ├── MultipartError
    │   ├── PresignError
    │   ├── UnsupportedError
    │   ├── StoreIoError             (OSError)
    │   └── OtherStoreError
    ├── PublicationError
    │   ├── UnpublishableFileError
    │   ├── EmptyOutputError
    │   ├── FileChangedError
    │   ├── UploadFailedError
    │   └── VerificationFailedError  (has `keys`)
    ├── SigningError
    │   ├── InvalidKeyPairError      (ValueError)
    │   └── SignatureRefusedError
    └── WebhookError
        ├── ForbiddenAddressError    (ValueError)
        └── DeliveryFailedError      (has `status`)

A message is one sentence that says what happened and, where the reader can mend it, how; none ever holds a secret.
"""

from collections.abc import Sequence

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance


class WildcastServerError(Exception):
    """The base of all of them."""


class SettingsError(WildcastServerError, ValueError):
    """The configuration cannot be used."""


class WorkflowError(WildcastServerError):
    """Something about a workflow went wrong."""

    provenance: Provenance | None = None
    """What ran, as far as it is known, where something was to run."""


class UnknownWorkflowError(WorkflowError, LookupError):
    """No exposed workflow has that name."""


class WorkflowLoadError(WorkflowError):
    """A workflow file could not be imported, or a workflow could not be constructed.

    Parameters
    ----------
    message
        One sentence.
    traceback
        The constructor's own traceback, for the log.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class InvalidParametersError(WorkflowError, ValueError):
    """Parameters that the workflow does not accept.

    Parameters
    ----------
    message
        One sentence.
    fields
        One entry a field: ``{"field": "a.b", "message": "…", "type": "…"}``.
    """

    def __init__(self, message: str, fields: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.fields = fields


class WorkflowFailedError(WorkflowError):
    """The workflow raised.

    Parameters
    ----------
    message
        The exception's type and text.
    traceback
        The workflow's own traceback, for the log.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class RunnerDiedError(WorkflowError):
    """The process that ran the workflow ended before the workflow did."""


class ExecutionCancelledError(WorkflowError):
    """The execution was told to stop."""


class RecordError(WildcastServerError):
    """Something about the records went wrong."""


class UnknownExecutionError(RecordError, LookupError):
    """No execution has that id."""


class StatusConflictError(RecordError):
    """The execution is not in a status from which this change may be made."""


class IdempotencyConflictError(RecordError):
    """Another request came with the same idempotency key before."""


class NoResultsError(RecordError):
    """The execution has no results: not yet, not any more, or never.

    Parameters
    ----------
    message
        One sentence for the caller.
    status
        Where the execution stands, which says which of the three it is.
    """

    def __init__(self, message: str, status: ExecutionStatus) -> None:
        super().__init__(message)
        self.status = status


class SchemaMismatchError(RecordError):
    """The database has another schema than this version of wildcast."""


class ServiceUnavailableError(WildcastServerError):
    """The service cannot take this now; later it may.

    Parameters
    ----------
    message
        One sentence for the caller.
    reason
        What our own log says beside it: it may name hosts and users.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}" if self.reason else str(self.args[0])

    @property
    def for_clients(self) -> str:
        """The sentence alone."""
        return str(self.args[0])


class QueueFullError(ServiceUnavailableError):
    """As many executions wait as may wait.

    Parameters
    ----------
    message
        One sentence for the caller.
    retry_after
        When to ask again, in seconds.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreError(WildcastServerError):
    """A store could not do what it was asked to.

    Parameters
    ----------
    message
        One sentence, without credentials.
    uri
        The object or store that it is about.
    """

    def __init__(self, message: str, uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri

    def __str__(self) -> str:
        # KeyError's own __str__ would quote the sentence.
        return str(self.args[0])


class NotFoundError(StoreError, FileNotFoundError, KeyError):
    """There is no such object."""


class NoSuchBucketError(StoreError):
    """There is no such bucket."""


class AlreadyExistsError(StoreError, FileExistsError):
    """A conditional create found an object under that key."""


class AccessDeniedError(StoreError, PermissionError):
    """The store refused these credentials."""


class CredentialsExpiredError(AccessDeniedError):
    """The credentials were right and have ended; the same request with renewed ones may succeed."""


class InvalidUriError(StoreError, ValueError):
    """A store's URI that cannot be understood."""


class InvalidKeyError(StoreError, ValueError):
    """A key that this store cannot hold."""


class RangeNotSatisfiableError(StoreError):
    """A byte range that begins at or behind the object's end."""


class NetworkError(StoreError):
    """The store could not be reached, did not answer in time, or failed in a way that may pass; worth another try."""


class SlowDownError(NetworkError):
    """The store asks for fewer requests (503 SlowDown, 429)."""


class MultipartError(StoreError):
    """A multipart upload that does not exist any more, or parts that do not make an object."""


class PresignError(StoreError):
    """A URL that cannot be signed: no credentials for it, or a lifetime that the store does not grant."""


class UnsupportedError(StoreError):
    """This kind of store cannot do that."""


class StoreIoError(StoreError, OSError):
    """The store failed to read or write: a disk that is full, a body that is not what was announced."""


class OtherStoreError(StoreError):
    """Any other failure of a store."""


class PublicationError(WildcastServerError):
    """An output directory could not be published."""


class UnpublishableFileError(PublicationError):
    """Something in the output directory cannot become an object; the sentence names it."""


class EmptyOutputError(PublicationError):
    """The output directory has no file in it."""


class FileChangedError(PublicationError):
    """A file was written while it was being published."""


class UploadFailedError(PublicationError):
    """A file did not reach the store."""


class VerificationFailedError(PublicationError):
    """The store does not hold what was sent.

    Parameters
    ----------
    message
        One sentence.
    keys
        Of all objects that are not as they were sent.
    """

    def __init__(self, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class SigningError(WildcastServerError):
    """A URL or cookie could not be signed, or was not accepted."""


class InvalidKeyPairError(SigningError, ValueError):
    """A signing key that cannot be read or is of the wrong kind."""


class SignatureRefusedError(SigningError):
    """A signed URL or cookie that does not grant what was asked for."""


class WebhookError(WildcastServerError):
    """Something about a webhook went wrong; the sentence never holds its URL's path or query."""


class ForbiddenAddressError(WebhookError, ValueError):
    """A URL that the server does not call: another scheme, or an address that is not public."""


class DeliveryFailedError(WebhookError):
    """A webhook was not delivered.

    Parameters
    ----------
    message
        One sentence.
    status
        Of the answer, if there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
