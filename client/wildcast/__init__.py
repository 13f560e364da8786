"""Read the results of long-running workflows through CDN wildcard signed URLs.

Importing this imports nothing else: each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wildcast._client import Client
    from wildcast._errors import (
        AccessRefusedError,
        ApiError,
        DamagedManifestError,
        DatasetError,
        ExecutionCancelledError,
        ExecutionError,
        ExecutionFailedError,
        InvalidParametersError,
        InvalidUrlError,
        LostObjectError,
        MissingFileError,
        NoListingError,
        NotAuthorizedError,
        RangeNotSatisfiableError,
        ReadError,
        ReadOnlyError,
        ResultChangedError,
        ResultsExpiredError,
        ResultsPendingError,
        ServerBusyError,
        ServerUnavailableError,
        StoreUnavailableError,
        TransferBrokenError,
        UnexpectedAnswerError,
        UnknownExecutionError,
        UnknownWorkflowError,
        UnsafePathError,
        UrlExpiredError,
        WaitTimeoutError,
        WildcastError,
    )
    from wildcast._execution import Execution
    from wildcast._filesystem import SignedFileSystem
    from wildcast._mappers import create_cloudfront_mapper, get_mapper
    from wildcast._result import Result
    from wildcast._version import __version__
    from wildcast.contract.status import ExecutionStatus

__all__ = [
    "AccessRefusedError",
    "ApiError",
    "Client",
    "DamagedManifestError",
    "DatasetError",
    "Execution",
    "ExecutionCancelledError",
    "ExecutionError",
    "ExecutionFailedError",
    "ExecutionStatus",
    "InvalidParametersError",
    "InvalidUrlError",
    "LostObjectError",
    "MissingFileError",
    "NoListingError",
    "NotAuthorizedError",
    "RangeNotSatisfiableError",
    "ReadError",
    "ReadOnlyError",
    "Result",
    "ResultChangedError",
    "ResultsExpiredError",
    "ResultsPendingError",
    "ServerBusyError",
    "ServerUnavailableError",
    "SignedFileSystem",
    "StoreUnavailableError",
    "TransferBrokenError",
    "UnexpectedAnswerError",
    "UnknownExecutionError",
    "UnknownWorkflowError",
    "UnsafePathError",
    "UrlExpiredError",
    "WaitTimeoutError",
    "WildcastError",
    "__version__",
    "create_cloudfront_mapper",
    "get_mapper",
]

_MODULES = {
    "Client": "wildcast._client",
    "Execution": "wildcast._execution",
    "ExecutionStatus": "wildcast.contract.status",
    "Result": "wildcast._result",
    "SignedFileSystem": "wildcast._filesystem",
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
