"""Running executions: the port of job engines with its adapters, and the runner process that hosts workflows."""

from wildcast_server.jobs.base import (
    Job,
    JobEngine,
    JobHandler,
    JobKind,
    JobQueue,
    JobState,
    JobWorker,
    Json,
    Steps,
)
from wildcast_server.jobs.dialect import DIALECT
from wildcast_server.jobs.in_process import InProcessJobs
from wildcast_server.jobs.probe import probe
from wildcast_server.jobs.protocol import SinkSpec
from wildcast_server.jobs.runner import Runner, RunRequest
from wildcast_server.jobs.surroundings import surroundings

__all__ = [
    "DIALECT",
    "InProcessJobs",
    "Job",
    "JobEngine",
    "JobHandler",
    "JobKind",
    "JobQueue",
    "JobState",
    "JobWorker",
    "Json",
    "RunRequest",
    "Runner",
    "SinkSpec",
    "Steps",
    "probe",
    "surroundings",
]
