"""Keeping a result however old it is."""

from dataclasses import dataclass

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import StatusConflictError
from wildcast_server.records import Records
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.moving import while_it_moves

PINNABLE = frozenset(ExecutionStatus) - {ExecutionStatus.EXPIRED}


@dataclass(frozen=True)
class Pin:
    """Pin executions, and let go of them."""

    lookup: Lookup
    records: Records

    def __call__(self, workflow_name: str, execution_id: str, *, pinned: bool = True) -> Execution:
        """Pin it, before its end or after, or unpin it; what is so already stays.

        Unpinned, it expires when it would have: at once, if that time has passed.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        StatusConflictError
            If it has expired: then there is nothing to keep.
        """

        def pin(execution: Execution) -> Execution:
            if execution.status not in PINNABLE:
                raise StatusConflictError(f"the results of {execution.id} have expired: there is nothing to keep")
            return self.records.mark(execution.id, expected=PINNABLE, pinned=pinned)

        return while_it_moves(lambda: self.lookup.execution(workflow_name, execution_id), pin)
