"""Listing executions, the newest first, a page at a time."""

from dataclasses import dataclass

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.registry import Registry
from wildcast_server.records import PageQuery, Position, Records, Standing


@dataclass(frozen=True)
class Listed:
    """A page of executions."""

    standings: list[Standing]
    next: Position | None
    """Where the next page begins; None on the last one."""


@dataclass(frozen=True)
class ListExecutions:
    """List what the records have.

    Parameters
    ----------
    workflows
        The exposed ones. What others ran before is listed as well, if it is there.
    """

    workflows: Registry
    records: Records

    def __call__(self, query: PageQuery) -> Listed:
        """Return the executions that `query` asks for.

        Raises
        ------
        UnknownWorkflowError
            If it names a workflow that is not exposed and has no executions.
        ServiceUnavailableError
            If the records cannot be reached.
        """
        if query.workflow is not None and not (query.workflow.isascii() and query.workflow.isprintable()):
            # No workflow was ever called that, and it may be no text that every database takes.
            self.workflows.get(query.workflow)
        page = self.records.page(query)
        if not page.executions and query.workflow is not None and query.before is None:
            self.workflows.get(query.workflow)
        queued = [found.id for found in page.executions if found.status is ExecutionStatus.QUEUED]
        places = self.records.standings(queued) if queued else {}
        # Of what waits, both are of one moment: a place in the queue belongs to nothing that has begun since.
        return Listed([places.get(found.id, Standing(found, None)) for found in page.executions], page.next)
