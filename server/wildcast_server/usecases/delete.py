"""Deleting an execution: it is unknown from now on, and what it published is removed soon after."""

import logging
from dataclasses import dataclass

from wildcast.contract.naming import is_execution_id
from wildcast.contract.status import FINAL
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import StatusConflictError, UnknownExecutionError
from wildcast_server.records import Effects, Records
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import unknown_to
from wildcast_server.usecases.moving import while_it_moves

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delete:
    """Delete executions that have ended."""

    records: Records
    ending: Ending

    def __call__(self, workflow_name: str, execution_id: str) -> None:
        """Delete it; one that was deleted before stays so.

        Raises
        ------
        UnknownExecutionError
            If the workflow never had such an execution, or it was forgotten since.
        StatusConflictError
            If it has not ended: it is to be cancelled first.
        """

        def look() -> Execution:
            if not is_execution_id(execution_id):
                raise unknown_to(workflow_name, execution_id)
            try:
                execution = self.records.get(execution_id, deleted=True)
            except UnknownExecutionError:
                raise unknown_to(workflow_name, execution_id) from None
            if execution.workflow_name != workflow_name:
                raise unknown_to(workflow_name, execution_id)
            return execution

        while_it_moves(look, self._delete)

    def _delete(self, execution: Execution) -> None:
        if execution.deleted_at is not None:
            return
        if not execution.status.is_final:
            raise StatusConflictError(
                f"execution {execution.id} is {execution.status}: cancel it first, and delete it when it has ended"
            )
        effects = Effects(removals=self.ending.removals(execution, "deleted"))
        try:
            self.records.mark(execution.id, expected=FINAL, deleted_at=utc_now(), effects=effects)
        except UnknownExecutionError:
            return  # another request has deleted it in between
        logger.info("%s deleted", execution.id)
