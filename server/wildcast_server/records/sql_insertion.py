"""Recording new executions in a database, many in one transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class _New(NamedTuple):
    submission: Submission
    position: int


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
        self._submissions = submissions
        queries.lock_queue(connection)
        ids = {"execution_ids": [each.execution.id for each in submissions]}
        self._taken = set(connection.execute(queries.TAKEN, ids).scalars())
        self._admission = _admission(connection, limits, {each.execution.workflow_name for each in submissions})
        keys = [(each.execution.owner, each.key) for each in submissions if each.key is not None]
        self._known = self._look_up(keys) if keys else {}

    def record_all(self) -> list[Accepted | Exception]:
        """Record what may be, in few statements however many they are; return what became of each."""
        decided = [self._decide(submission) for submission in self._submissions]
        recorded = self._insert([each for each in decided if isinstance(each, _New)])
        return [
            self._outcome(submission, each, recorded)
            for submission, each in zip(self._submissions, decided, strict=True)
        ]

    def _decide(self, submission: Submission) -> _New | _Known | Exception:
        execution = submission.execution
        known = self._known.get((execution.owner, submission.key)) if submission.key is not None else None
        try:
            if known is not None:
                check_fingerprint(submission, known.fingerprint)
                return known
            self._admission.check(execution)
            if execution.id in self._taken:
                raise doubled(execution.id)
        except (RecordError, QueueFullError) as error:
            return error
        self._taken.add(execution.id)
        if submission.key is not None:
            self._known[execution.owner, submission.key] = _Known(submission.fingerprint, execution.id)
        return _New(submission, self._admission.count(execution))

    def _insert(self, new: Sequence[_New]) -> dict[str, Execution]:
        """Add the rows; the sequences are in the submissions' order."""
        if not new:
            return {}
        connection = self._connection
        executions = [each.submission.execution for each in new]
        added = connection.execute(queries.INSERT_EXECUTIONS, [execution_row(each) for each in executions])
        sequences = {row.id: row.sequence for row in added}
        recorded = {each.id: each.with_changes(sequence=sequences[each.id]) for each in executions}
        labels = [row for execution in recorded.values() for row in label_rows(execution)]
        if labels:
            connection.execute(queries.INSERT_LABEL, labels)
        keys = [_key_row(each.submission) for each in new if each.submission.key is not None]
        if keys:
            connection.execute(queries.INSERT_KEY, keys)
        return recorded

    def _outcome(
        self, submission: Submission, decided: _New | _Known | Exception, recorded: dict[str, Execution]
    ) -> Accepted | Exception:
        if isinstance(decided, _New):
            return Accepted(recorded[submission.execution.id], decided.position, is_new=True)
        if isinstance(decided, _Known):
            return self._again(decided)
        return decided

    def _again(self, known: _Known) -> Accepted:
        wanted = {"execution_id": known.execution_id}
        row = self._connection.execute(queries.EXECUTION_BY_ID, wanted).mappings().one()
        position = self._connection.execute(queries.QUEUE_POSITION, wanted).scalar_one_or_none()
        return Accepted(execution_of(row), position, is_new=False)

    def _look_up(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _Known]:
        rows = self._connection.execute(queries.KEYS, {"keys": keys})
        return {(row.owner, row.key): _Known(row.fingerprint, row.execution_id) for row in rows}


def admit(connection: Connection, execution: Execution, limits: Limits) -> None:
    """Hold that one that has ended may be unfinished again; raises `QueueFullError`. The queue is held from then on."""
    queries.lock_queue(connection)
    _admission(connection, limits, {execution.workflow_name}).check(execution)


def _admission(connection: Connection, limits: Limits, names: set[str]) -> Admission:
    """Count what there is, as far as it is limited."""
    limited = sorted(names & limits.per_workflow.keys())
    rows = connection.execute(queries.UNFINISHED_OF, {"workflow_names": limited}) if limited else ()
    unfinished = {(row.workflow_name, ExecutionStatus(row.status)): row.number for row in rows}
    return Admission(limits, connection.execute(queries.QUEUED).scalar_one(), unfinished)


def _key_row(submission: Submission) -> dict[str, Any]:
    return {
        "owner": submission.execution.owner,
        "key": submission.key,
        "fingerprint": submission.fingerprint,
        "execution_id": submission.execution.id,
    }
