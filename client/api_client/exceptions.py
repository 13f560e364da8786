"""What the SDK raises.

    Earth2StudioAPIError                  (has `message`, `status_code` and `details`)
    ├── BadRequestError                   (400)
    ├── InferenceRequestNotFoundError     (404)
    │   └── ResultFileNotFoundError       (FileNotFoundError)
    ├── InternalServerError               (500)
    ├── RequestTimeoutError
    └── APIConnectionError                (its older name: ConnectionError)

Values of a dataset are read when they are used; what goes wrong then is one of `wildcast`'s `ReadError`, an `OSError`.
"""

from typing import Any


class Earth2StudioAPIError(Exception):
    """The API answered with an error, or with nothing that can be used.

    Parameters
    ----------
    message
        What happened.
    status_code
        The HTTP status; None where no answer is to blame.
    details
        The particulars that the server sent.
    """

    def __init__(self, message: str, status_code: int | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.details = details

    def __str__(self) -> str:
        status = f" (HTTP {self.status_code})" if self.status_code else ""
        details = f" - {self.details}" if self.details else ""
        return f"Earth2Studio API Error: {self.message}{status}{details}"


class BadRequestError(Earth2StudioAPIError):
    """The server does not accept the request (400); also what it says of results that have expired.

    Parameters
    ----------
    message, details
        As `Earth2StudioAPIError`.
    """

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message, status_code=400, details=details)


class InferenceRequestNotFoundError(Earth2StudioAPIError):
    """There is no such execution, or no results of it (404).

    Parameters
    ----------
    message, details
        As `Earth2StudioAPIError`.
    """

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message, status_code=404, details=details)


class ResultFileNotFoundError(InferenceRequestNotFoundError, FileNotFoundError):
    """The result has no such file; a `FileNotFoundError` too, which it was for results in object storage."""


class InternalServerError(Earth2StudioAPIError):
    """The server failed (500).

    Parameters
    ----------
    message, details
        As `Earth2StudioAPIError`.
    """

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message, status_code=500, details=details)


class RequestTimeoutError(Earth2StudioAPIError):
    """The server stayed silent for too long, or an execution did not end in the time given.

    Parameters
    ----------
    message
        As `Earth2StudioAPIError`.
    """

    def __init__(self, message: str = "Request timed out") -> None:
        super().__init__(message)


class APIConnectionError(Earth2StudioAPIError):
    """The server cannot be reached.

    Parameters
    ----------
    message
        As `Earth2StudioAPIError`.
    """

    def __init__(self, message: str = "Failed to connect to Earth2Studio API") -> None:
        super().__init__(message)


ConnectionError = APIConnectionError  # noqa: A001 - the name that the SDK's first releases gave it
