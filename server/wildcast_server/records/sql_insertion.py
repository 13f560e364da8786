"""Recording new executions in a database, many in one transaction."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import QueueFullError, RecordError
from wildcast_server.records import queries
from wildcast_server.records.admission import Admission, check_fingerprint
from wildcast_server.records.rows import execution_of, execution_row, label_rows
from wildcast_server.records.rules import doubled
from wildcast_server.records.values import Accepted, Limits, Submission


class _Known(NamedTuple):
    fingerprint: str
    execution_id: str


class Insertion:
    """A transaction that records executions; it holds the queue, so that what it counts stays true.

    Parameters
    ----------
    connection
        In a transaction.
    submissions
        All that will be asked for.
    """

    def __init__(self, connection: Connection, submissions: Sequence[Submission], limits: Limits) -> None:
        self._connection = connection
        queries.lock_queue(connection)
        names = {each.execution.workflow_name for each in submissions} & limits.per_workflow.keys()
        queued = connection.execute(queries.QUEUED).scalar_one()
        self._admission = Admission(limits, queued, self._unfinished(names) if names else {})
        keys = [(each.execution.owner, each.key) for each in submissions if each.key is not None]
        self._known = self._look_up(keys) if keys else {}

    def record(self, submission: Submission) -> Accepted | Exception:
        """Record one, or return why not."""
        try:
            return self._again(submission) or self._anew(submission)
        except (RecordError, QueueFullError) as error:
            return error

    def _again(self, submission: Submission) -> Accepted | None:
        known = self._known.get((submission.execution.owner, submission.key or ""))
        if submission.key is None or known is None:
            return None
        check_fingerprint(submission, known.fingerprint)
        wanted = {"execution_id": known.execution_id}
        row = self._connection.execute(queries.EXECUTION_BY_ID, wanted).mappings().one()
        position = self._connection.execute(queries.QUEUE_POSITION, wanted).scalar_one_or_none()
        return Accepted(execution_of(row), position, is_new=False)

    def _anew(self, submission: Submission) -> Accepted:
        given = submission.execution
        self._admission.check(given)
        insert = queries.insert_execution(self._connection)
        sequence = self._connection.execute(insert, execution_row(given)).scalar_one_or_none()
        if sequence is None:
            raise doubled(given.id)
        execution = given.with_changes(sequence=sequence)
        self._add_rows(execution, submission)
        return Accepted(execution, self._admission.count(execution), is_new=True)

    def _add_rows(self, execution: Execution, submission: Submission) -> None:
        if execution.labels:
            self._connection.execute(queries.INSERT_LABEL, label_rows(execution))
        if submission.key is not None:
            known = _Known(submission.fingerprint, execution.id)
            self._known[execution.owner, submission.key] = known
            row = {"owner": execution.owner, "key": submission.key, **known._asdict()}
            self._connection.execute(queries.INSERT_KEY, row)

    def _unfinished(self, names: set[str]) -> dict[tuple[str, ExecutionStatus], int]:
        rows = self._connection.execute(queries.UNFINISHED_OF, {"workflow_names": sorted(names)})
        return {(row.workflow_name, ExecutionStatus(row.status)): row.number for row in rows}

    def _look_up(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _Known]:
        rows = self._connection.execute(queries.KEYS, {"keys": keys})
        return {(row.owner, row.key): _Known(row.fingerprint, row.execution_id) for row in rows}
