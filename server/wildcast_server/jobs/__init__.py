"""Running executions: the port of job engines with its adapters, and the runner process that hosts workflows."""

from wildcast_server.jobs.base import (
    Job,
    JobHandler,
    JobKind,
    JobQueue,
    JobState,
    JobWorker,
    Json,
    Steps,
)
from wildcast_server.jobs.call_note import was_called
from wildcast_server.jobs.dialect import DIALECT
from wildcast_server.jobs.memory_jobs import MemoryJobs, MemorySteps
from wildcast_server.jobs.probe import Survey, Surveyed, probe, survey
from wildcast_server.jobs.protocol import SinkSpec
from wildcast_server.jobs.runner import Runner, RunRequest
from wildcast_server.jobs.surroundings import surroundings

__all__ = [
    "DIALECT",
    "Job",
    "JobHandler",
    "JobKind",
    "JobQueue",
    "JobState",
    "JobWorker",
    "Json",
    "MemoryJobs",
    "MemorySteps",
    "RunRequest",
    "Runner",
    "SinkSpec",
    "Steps",
    "Survey",
    "Surveyed",
    "probe",
    "surroundings",
    "survey",
    "was_called",
]
