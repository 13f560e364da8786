"""Taking executions on: check what was asked for, record it, and hand it to the engine in the same transaction."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wildcast.contract.naming import new_execution_id
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.parameters import to_json, validate
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import ForbiddenAddressError, WildcastServerError
from wildcast_server.jobs import JobQueue
from wildcast_server.records import UNLIMITED, Accepted, Limits, Records, Submission
from wildcast_server.usecases.queues import compute_job
from wildcast_server.usecases.room import Room

logger = logging.getLogger(__name__)

MAX_TOGETHER = 64
"""How many are recorded in one transaction: more of them would let the workers' own changes wait for too long."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client submits.

    Parameters
    ----------
    workflow_name
        Which workflow is to run.
    parameters
        As they were sent.
    labels
        By which the execution can be found in lists.
    retention_seconds
        How long after its end the result is kept; None for the server's default.
    webhook
        A URL that is told how it ended.
    key
        The same key and the same request mean the same execution.
    """

    workflow_name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    retention_seconds: int | None = None
    webhook: str | None = field(default=None, repr=False)
    key: str | None = None

    def fingerprint(self) -> str:
        """Return what tells this request from another one with the same key."""
        parts = [self.workflow_name, self.parameters, self.labels, self.retention_seconds, self.webhook]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def no_webhooks(_url: str) -> None:
    """Refuse any webhook, as a server does that could not sign what it sends."""
    raise ForbiddenAddressError("this server calls no webhooks: its operator has to set webhooks.secret")


@dataclass(frozen=True)
class Submit:
    """Accept requests for workflows.

    Parameters
    ----------
    workflows
        The exposed ones.
    room
        Without which nothing is accepted.
    limits
        How many executions may wait.
    check_webhook
        Raises `ForbiddenAddressError` for a URL that is never called.
    """

    workflows: Registry
    records: Records
    jobs: JobQueue
    room: Room
    limits: Limits = UNLIMITED
    check_webhook: Callable[[str], None] = no_webhooks

    def __call__(self, request: Request) -> Accepted:
        """Record an execution and queue it.

        Returns
        -------
        The execution as it was accepted, and how many were queued before it; or, where the request came with this key
        before, the execution that it became then, as it is now.

        Raises
        ------
        UnknownWorkflowError
            If no exposed workflow has that name.
        InvalidParametersError
            If the workflow does not accept the parameters.
        ForbiddenAddressError
            If the webhook is never called.
        QueueFullError
            If as many executions wait as may wait.
        IdempotencyConflictError
            If another request came with this key before.
        ServiceUnavailableError
            If the disk is too full to run anything, or records or engine take nothing.
        """
        (outcome,) = self.record([self.prepare(request)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def prepare(self, request: Request) -> Submission:
        """Check a request, for which the workflow's own code runs; nothing is recorded yet. Raises as `__call__`."""
        workflow = self.workflows.get(request.workflow_name)
        validated = validate(workflow, request.parameters)
        if request.webhook is not None:
            try:
                self.check_webhook(request.webhook)
            except ForbiddenAddressError as error:
                raise ForbiddenAddressError(f"the webhook is refused: {error}") from error
        execution = Execution(
            id=new_execution_id(),
            jobs=1,
            workflow_name=request.workflow_name,
            parameters=to_json(validated),
            labels=request.labels,
            retention_seconds=request.retention_seconds,
            webhook=request.webhook,
        )
        if request.key is None:
            return Submission(execution=execution)
        return Submission(execution=execution, key=request.key, fingerprint=request.fingerprint())

    def record(self, submissions: Sequence[Submission]) -> list[Accepted | Exception]:
        """Record and queue what was prepared; each has its outcome, which `__call__` would return or raise."""
        outcomes: list[Accepted | Exception] = []
        for batch in _batches(submissions):
            try:
                self.room.check()
                # Record and job at once: whatever dies, there is never one without the other.
                outcomes += self.records.insert_all(batch, limits=self.limits, within=self._enqueue)
            except WildcastServerError as error:
                outcomes += [error] * len(batch)
        for outcome in outcomes:
            _tell(outcome)
        return outcomes

    def _enqueue(self, executions: Sequence[Execution], connection: Any) -> None:
        self.jobs.enqueue_all([compute_job(each) for each in executions], connection)


def _batches(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    for start in range(0, len(submissions), MAX_TOGETHER):
        yield submissions[start : start + MAX_TOGETHER]


def _tell(outcome: Accepted | Exception) -> None:
    if isinstance(outcome, Exception):
        return
    execution, position, is_new = outcome
    if is_new:
        logger.info("%s accepted: %s, %s before it", execution.id, execution.workflow_name, position)
    else:
        logger.info("%s was submitted again with its idempotency key", execution.id)
