"""Running executions: the port of job engines with its adapters, and the runner process that hosts workflows."""

from wildcast_server.jobs.base import JobEngine
from wildcast_server.jobs.in_process import InProcessJobs
from wildcast_server.jobs.runner import Runner, RunReport, RunRequest

__all__ = ["InProcessJobs", "JobEngine", "RunReport", "RunRequest", "Runner"]
