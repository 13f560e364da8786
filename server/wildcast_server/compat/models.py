"""The models that Earth2Studio's workflow files derive theirs from."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class WorkflowStatus:
    """The names of the states that an execution can be in."""

    QUEUED = "queued"
    RUNNING = "running"
    PENDING_RESULTS = "pending_results"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class WorkflowArgsBase(BaseModel):
    """What parameters and configurations have in common: a field that they do not have is an error."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def validate(cls, data: Any) -> Self:
        """Make one of a mapping, or check one again that may have been changed.

        Raises
        ------
        ValueError
            If the values are not valid, or `data` is neither a mapping nor one of these.
        """
        if isinstance(data, cls):
            return cls(**data.model_dump(warnings=False))
        if isinstance(data, dict):
            return cls(**data)
        raise ValueError(f"give a mapping or a {cls.__name__}, not a {type(data).__name__}")


class WorkflowParameters(WorkflowArgsBase):
    """The base of a workflow's parameters.

    The fields ``start_time`` and ``forecast_times``, where a model has them, take dates only with a time of day: one
    or a list, as text in ISO 8601 (``T`` or a space between the two; ``Z`` is UTC) or as `datetime`.
    """

    @field_validator("forecast_times", "start_time", mode="before", check_fields=False)
    @classmethod
    def validate_datetime_list(cls, value: Any, info: ValidationInfo) -> Any:
        """Return `value` as it is if each time in it has a time of day; the field's type does the rest."""
        for index, time in enumerate(value if isinstance(value, list) else [value]):
            if time is not None and not _has_time_of_day(time):
                raise ValueError(
                    f"{info.field_name}[{index}] is no ISO 8601 date with a time of day, such as 2024-01-01T00:00:00Z"
                )
        return value


class WorkflowConfig(WorkflowArgsBase):
    """The base of what the server's configuration gives a workflow."""


class WorkflowProgress(BaseModel):
    """How far a run is; a workflow adds fields of its own by deriving from it."""

    progress: str | None = None
    current_step: int | None = None
    total_steps: int | None = None
    error_message: str | None = None


class WorkflowResult(BaseModel):
    """An execution, as Earth2Studio's server describes it."""

    workflow_name: str
    execution_id: str
    status: str
    position: int | None = None
    progress: WorkflowProgress | None = None
    start_time: str | None = None
    end_time: str | None = None
    execution_time_seconds: float | None = None
    error_message: str | None = None
    metadata: dict[str, Any] | None = Field(default_factory=dict)


def _has_time_of_day(time: Any) -> bool:
    if isinstance(time, datetime):
        return True
    if not isinstance(time, str) or not ("T" in time or " " in time):
        return False
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True
