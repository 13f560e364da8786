"""The queues of jobs, and the job that an execution waits in."""

from wildcast_server.domain.execution import Execution
from wildcast_server.jobs import Job

COMPUTE = "compute"
"""The queue of executions whose workflow is to run; any worker may take them."""

PUBLISH = "publish"
"""What the queues of executions begin with whose output directory is to be published."""


def publish_queue(site: str) -> str:
    """Return the queue of executions whose output directory is on the disk `site`: only who has that can publish it."""
    return f"{PUBLISH}.{site}"


def compute_job(execution: Execution) -> Job:
    """Return the current job of an execution whose workflow is to run."""
    return Job(execution.job_id, "compute", COMPUTE, execution.id, execution.sequence)


def publish_job(execution: Execution) -> Job:
    """Return the current job of an execution that is to be published; it has a `site`."""
    assert execution.site is not None, "nothing is published that nobody has computed"  # noqa: S101 - a worker's own
    return Job(execution.job_id, "publish", publish_queue(execution.site), execution.id, execution.sequence)
