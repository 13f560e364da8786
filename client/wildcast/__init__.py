"""Read the results of long-running workflows through CDN wildcard signed URLs.

Importing this imports nothing else: each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wildcast._absent import UnlistedWarning
    from wildcast._async_client import AsyncClient
    from wildcast._async_execution import AsyncExecution
    from wildcast._client import Client
    from wildcast._errors import (
        AccessRefusedError,
        ApiError,
        ConfigError,
        ConflictError,
        DamagedManifestError,
        DatasetError,
        DiskFullError,
        ExecutionCancelledError,
        ExecutionError,
        ExecutionFailedError,
        IdempotencyConflictError,
        InvalidParametersError,
        InvalidPatternError,
        InvalidUrlError,
        LostObjectError,
        MissingFileError,
        NoListingError,
        NotAFileError,
        NotAuthorizedError,
        OriginRefusedError,
        PendingFileError,
        RangeNotSatisfiableError,
        ReadError,
        ReadOnlyError,
        ResultChangedError,
        ResultsExpiredError,
        ResultsPendingError,
        ServerBusyError,
        ServerUnavailableError,
        StaleObjectError,
        StoreUnavailableError,
        TransferBrokenError,
        UnexpectedAnswerError,
        UnknownExecutionError,
        UnknownWorkflowError,
        UnsafeDataError,
        UnsafePathError,
        UnsupportedError,
        UrlExpiredError,
        WaitTimeoutError,
        WildcastError,
    )
    from wildcast._events import EndEvent, Event, ProgressEvent, StatusEvent, UploadEvent
    from wildcast._execution import Execution
    from wildcast._filesystem import SignedFileSystem
    from wildcast._mappers import create_cloudfront_mapper, get_mapper
    from wildcast._opening import SmallChunksWarning
    from wildcast._result import AsyncResult, Result
    from wildcast._retry import Retry
    from wildcast._version import __version__
    from wildcast.contract.status import ExecutionStatus

__all__ = [
    "AccessRefusedError",
    "ApiError",
    "AsyncClient",
    "AsyncExecution",
    "AsyncResult",
    "Client",
    "ConfigError",
    "ConflictError",
    "DamagedManifestError",
    "DatasetError",
    "DiskFullError",
    "EndEvent",
    "Event",
    "Execution",
    "ExecutionCancelledError",
    "ExecutionError",
    "ExecutionFailedError",
    "ExecutionStatus",
    "IdempotencyConflictError",
    "InvalidParametersError",
    "InvalidPatternError",
    "InvalidUrlError",
    "LostObjectError",
    "MissingFileError",
    "NoListingError",
    "NotAFileError",
    "NotAuthorizedError",
    "OriginRefusedError",
    "PendingFileError",
    "ProgressEvent",
    "RangeNotSatisfiableError",
    "ReadError",
    "ReadOnlyError",
    "Result",
    "ResultChangedError",
    "ResultsExpiredError",
    "ResultsPendingError",
    "Retry",
    "ServerBusyError",
    "ServerUnavailableError",
    "SignedFileSystem",
    "SmallChunksWarning",
    "StaleObjectError",
    "StatusEvent",
    "StoreUnavailableError",
    "TransferBrokenError",
    "UnexpectedAnswerError",
    "UnknownExecutionError",
    "UnknownWorkflowError",
    "UnlistedWarning",
    "UnsafeDataError",
    "UnsafePathError",
    "UnsupportedError",
    "UploadEvent",
    "UrlExpiredError",
    "WaitTimeoutError",
    "WildcastError",
    "__version__",
    "create_cloudfront_mapper",
    "get_mapper",
]

_MODULES = {
    "AsyncResult": "wildcast._result",
    "AsyncClient": "wildcast._async_client",
    "AsyncExecution": "wildcast._async_execution",
    "Client": "wildcast._client",
    "EndEvent": "wildcast._events",
    "Event": "wildcast._events",
    "Execution": "wildcast._execution",
    "ExecutionStatus": "wildcast.contract.status",
    "ProgressEvent": "wildcast._events",
    "Result": "wildcast._result",
    "Retry": "wildcast._retry",
    "SmallChunksWarning": "wildcast._opening",
    "SignedFileSystem": "wildcast._filesystem",
    "UnlistedWarning": "wildcast._absent",
    "StatusEvent": "wildcast._events",
    "UploadEvent": "wildcast._events",
    "__version__": "wildcast._version",
    "create_cloudfront_mapper": "wildcast._mappers",
    "get_mapper": "wildcast._mappers",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES.get(name, "wildcast._errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
