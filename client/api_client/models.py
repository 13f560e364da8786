"""What is sent to the API, and what it answers, as the SDK's users know it.

Each ``from_dict`` takes the JSON of wildcast's server and of the Earth2Studio server: members that it does not know are
ignored, and those that one of them leaves out are None.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Self

from wildcast._encode import to_json


class StorageType(str, Enum):  # noqa: UP042 - a StrEnum's str() would be another one
    """Where a result is read from."""

    SERVER = "server"
    """The API itself serves the files."""
    S3 = "s3"
    """Object storage, through a signed URL."""


class RequestStatus(Enum):
    """Where an execution stands."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PENDING_RESULTS = "pending_results"
    EXPIRED = "expired"
    """It has completed, and its results have been removed since."""


@dataclass
class InferenceRequest:
    """What is asked of a workflow.

    Parameters
    ----------
    parameters
        The workflow's parameters; times, time differences and numpy's values are understood.
    """

    parameters: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the request's body as plain JSON values.

        Raises
        ------
        TypeError
            For a parameter that has no form in JSON.
        ValueError
            For an infinite number or one that is none.
        """
        text = json.dumps(self.parameters or {}, default=InferenceRequest.json_serial, allow_nan=False)
        return {"parameters": json.loads(text)}

    @staticmethod
    def json_serial(obj: Any) -> Any:
        """Return what `json` can write for an object that it cannot: times as ISO 8601, differences in seconds.

        Raises
        ------
        TypeError
            If there is no such form.
        ValueError
            For a number or time that is none.
        """
        if isinstance(obj, timedelta):
            return obj.total_seconds()
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(obj, "__array__"):
            array = numpy.asarray(obj)
            if array.dtype.kind == "m" and not numpy.isnat(array).any():
                return (array / numpy.timedelta64(1, "s")).tolist()
            if array.dtype.kind == "O" and array.ndim:
                return array.tolist()
        if isinstance(obj, set | frozenset):
            return list(obj)
        return to_json(obj, "a parameter")


@dataclass
class InferenceRequestResponse:
    """The answer to a submission."""

    execution_id: str
    status: RequestStatus
    message: str
    timestamp: datetime

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the API's JSON."""
        return cls(
            execution_id=data["execution_id"],
            status=RequestStatus(data["status"]),
            message=data.get("message", ""),
            timestamp=_time(data["timestamp"]),
        )


@dataclass
class ProgressInfo:
    """How far an execution is.

    Parameters
    ----------
    progress
        What it does now; None if it has not said.
    current_step, total_steps
        How much is done, of how much; None if it has not said.
    extra
        What the workflow reports beyond these, by name.
    """

    progress: str | None
    current_step: int | None
    total_steps: int | None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the API's JSON; every member may be missing or null."""
        rest = dict(data)
        progress, current, total = (rest.pop(name, None) for name in ("progress", "current_step", "total_steps"))
        return cls(progress, current, total, rest)


@dataclass
class InferenceRequestStatus:
    """Where an execution stands, and how far it is."""

    execution_id: str
    status: RequestStatus
    progress: ProgressInfo | None
    error_message: str | None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the API's JSON."""
        progress = data.get("progress")
        return cls(
            execution_id=data["execution_id"],
            status=RequestStatus(data["status"]),
            progress=None if progress is None else ProgressInfo.from_dict(progress),
            error_message=data.get("error_message"),
        )


@dataclass
class OutputFile:
    """A file of a result: its path, which begins with the execution's id, and its size in bytes."""

    path: str
    size: int

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the API's JSON."""
        return cls(path=data["path"], size=data["size"])


@dataclass
class InferenceRequestResults:
    """What a completed execution has left to read.

    Parameters
    ----------
    request_id
        The execution's id.
    status
        As the server gives it; the Earth2Studio server says ``pending_results`` of results that are there.
    output_files
        Every file.
    completion_time
        When it ended.
    execution_time_seconds
        How long it took.
    storage_type
        Where it is read from.
    signed_url
        For all files, ``<base>/*?<query>``: a secret until it ends, so `repr` leaves it out.
    """

    request_id: str
    status: RequestStatus
    output_files: list[OutputFile]
    completion_time: datetime | None
    execution_time_seconds: float | None = None
    storage_type: StorageType = StorageType.SERVER
    signed_url: str | None = field(default=None, repr=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the API's JSON."""
        ended = data.get("completion_time")
        return cls(
            request_id=data["request_id"],
            status=RequestStatus(data["status"]),
            output_files=[OutputFile.from_dict(file) for file in data.get("output_files") or ()],
            completion_time=None if ended is None else _time(ended),
            execution_time_seconds=data.get("execution_time_seconds"),
            storage_type=StorageType(data.get("storage_type") or StorageType.SERVER),
            signed_url=data.get("signed_url"),
        )

    def result_paths(self) -> list[str]:
        """Return the paths of what can be opened: zarr stores in order, then netCDF files as they are listed.

        Like those of `output_files` they begin with the execution's id.
        """
        paths = [file.path for file in self.output_files]
        stores = {f"{path.partition('.zarr/')[0]}.zarr" for path in (f"{path}/" for path in paths) if ".zarr/" in path}
        return sorted(stores) + [path for path in paths if path.endswith(".nc")]


@dataclass
class HealthStatus:
    """How the server is."""

    status: str
    timestamp: datetime

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the API's JSON."""
        return cls(status=data["status"], timestamp=_time(data["timestamp"]))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
