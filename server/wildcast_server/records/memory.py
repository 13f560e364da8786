"""Records in memory, for tests and for what needs no history."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import QueueFullError, RecordError
from wildcast_server.records.admission import Admission, check_fingerprint
from wildcast_server.records.base import Records
from wildcast_server.records.memory_outbox import MemoryOutbox
from wildcast_server.records.memory_pages import MemoryPages
from wildcast_server.records.memory_state import Key, Tables, add_effects, copied, find, queued, seen
from wildcast_server.records.memory_workers import MemoryWorkers
from wildcast_server.records.rules import (
    GONE,
    check_attempt,
    check_new,
    check_published,
    conflict,
    doubled,
    legal_sources,
    new_ones,
    statuses_of,
)
from wildcast_server.records.values import (
    ACTIVE,
    NOTHING_ELSE,
    UNFINISHED,
    UNLIMITED,
    Accepted,
    Changes,
    Effects,
    Heed,
    Limits,
    Marks,
    Standing,
    Submission,
    WithinAll,
)


class MemoryRecords(MemoryPages, MemoryWorkers, MemoryOutbox, Records):
    """Records that end with the process; the same behaviour as `SqlRecords`."""

    def insert_all(
        self, submissions: Sequence[Submission], *, limits: Limits = UNLIMITED, within: WithinAll | None = None
    ) -> list[Accepted | Exception]:
        for submission in submissions:
            check_new(submission.execution)
        with self._write() as tables:
            admission = _admission(tables, limits)
            outcomes = [_record(tables, admission, submission) for submission in submissions]
            recorded = [accepted.execution for accepted in new_ones(outcomes)]
            if within is not None and recorded:
                within(recorded, None)
            return outcomes

    def get(self, execution_id: str, *, deleted: bool = False) -> Execution:
        with self._read() as tables:
            return copied(find(tables, execution_id, deleted=deleted))

    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        job: int | None = None,
        limits: Limits = UNLIMITED,
        effects: Effects = NOTHING_ELSE,
        **changes: Unpack[Changes],
    ) -> Execution:
        check_published(to, changes)
        with self._write() as tables:
            execution = find(tables, execution_id)
            if limits is not UNLIMITED:
                _admission(tables, limits).check(execution)
            fits = execution.status in legal_sources(expected, to)
            fits = fits and attempt in (None, execution.attempt) and job in (None, execution.jobs)
            if not fits or changes.get("new_attempt", execution.attempt + 1) <= execution.attempt:
                raise conflict(execution, f"change to {to}")
            check_attempt(execution, changes)
            return _changed(tables, execution, effects, status=to, **_fields(execution, changes))

    def begin_attempt(
        self,
        execution_id: str,
        *,
        job: int,
        worker: str,
        site: str,
        reuse: bool,
        elsewhere: bool,
        started_at: datetime,
        provenance: Provenance | None = None,
    ) -> Execution:
        with self._write() as tables:
            execution = find(tables, execution_id)
            fits = execution.status in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING) and execution.jobs == job
            if not fits or execution.cancel_requested_at is not None:
                raise conflict(execution, "beginning of an attempt")
            has_died = not reuse and execution.status is ExecutionStatus.RUNNING
            return _changed(
                tables,
                execution,
                status=ExecutionStatus.RUNNING,
                attempt=execution.attempt + has_died,
                deaths=execution.deaths + has_died,
                place=execution.place + elsewhere,
                tries=0,
                progress=None,
                worker=worker,
                site=site,
                started_at=started_at,
                provenance=provenance,
            )

    def begin_try(self, execution_id: str, *, job: int, worker: str) -> Execution:
        with self._write() as tables:
            execution = find(tables, execution_id)
            if execution.status is not ExecutionStatus.PENDING_RESULTS or execution.jobs != job:
                raise conflict(execution, "try of publishing")
            return _changed(tables, execution, tries=execution.tries + 1, worker=worker)

    def mark(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        job: int | None = None,
        effects: Effects = NOTHING_ELSE,
        **marks: Unpack[Marks],
    ) -> Execution:
        with self._write() as tables:
            execution = find(tables, execution_id)
            if execution.status not in statuses_of(expected) or job not in (None, execution.jobs):
                raise conflict(execution, "change")
            if marks.get("deleted_at") is not None:
                tables.keys = {key: used for key, used in tables.keys.items() if used.execution_id != execution_id}
            return _changed(tables, execution, effects, **_marked(execution, marks))

    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        with self._write() as tables:
            execution = tables.executions.get(execution_id)
            if execution is None or execution.status not in ACTIVE or execution.attempt != attempt:
                return False
            _changed(tables, execution, progress=progress)
            return True

    def heed(self, attempts: Mapping[str, int]) -> dict[str, Heed]:
        with self._read() as tables:
            there = {each.id: each for each in seen(tables) if each.id in attempts and each.status in ACTIVE}
        return {
            key: Heed(
                is_current=there[key].attempt == attempt,
                cancel=there[key].cancel_requested_at is not None,
                partial=there[key].partial_asked,
            )
            if key in there
            else GONE
            for key, attempt in attempts.items()
        }

    def queue_position(self, execution_id: str) -> int | None:
        with self._read() as tables:
            return _position(tables, execution_id)

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        with self._read() as tables:
            places = {key: place for place, key in enumerate(queued(tables))}
            there = {each.id: each for each in seen(tables)}
            return {key: Standing(copied(there[key]), places.get(key)) for key in execution_ids if key in there}

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        with self._read() as tables:
            statuses = [execution.status for execution in seen(tables)]
        return {status: statuses.count(status) for status in UNFINISHED}

    def unfinished(self, *among: ExecutionStatus) -> list[Execution]:
        with self._read() as tables:
            return [copied(execution) for execution in seen(tables) if execution.status in (among or UNFINISHED)]

    def check(self) -> None:
        return

    def close(self) -> None:
        return


def _record(tables: Tables, admission: Admission, submission: Submission) -> Accepted | Exception:
    given, key = submission.execution, (submission.execution.owner, submission.key or "")
    try:
        if submission.key is not None and (used := tables.keys.get(key)) is not None:
            check_fingerprint(submission, used.fingerprint)
            position = _position(tables, used.execution_id)
            return Accepted(copied(find(tables, used.execution_id)), position, is_new=False)
        admission.check(given)
        if given.id in tables.executions:
            raise doubled(given.id)
    except (QueueFullError, RecordError) as error:
        return error
    tables.last_sequence += 1
    execution = copied(given.with_changes(sequence=tables.last_sequence))
    tables.executions[given.id] = execution
    if submission.key is not None:
        tables.keys[key] = Key(submission.fingerprint, given.id)
    return Accepted(copied(execution), admission.count(given), is_new=True)


def _position(tables: Tables, execution_id: str) -> int | None:
    waiting = queued(tables)
    return waiting.index(execution_id) if execution_id in waiting else None


def _changed(tables: Tables, execution: Execution, effects: Effects = NOTHING_ELSE, **fields: Any) -> Execution:
    if fields.get("attempt", execution.attempt) != execution.attempt:
        # The publication of an earlier attempt is not this attempt's.
        fields["published"] = None
    changed = copied(execution.with_changes(version=execution.version + 1, **fields))
    tables.executions[execution.id] = changed
    add_effects(tables, changed, effects)
    return copied(changed)


def _fields(execution: Execution, changes: Changes) -> dict[str, Any]:
    fields: dict[str, Any] = dict(changes)
    if "new_attempt" in fields:
        fields["attempt"] = fields.pop("new_attempt")
    if fields.pop("new_job", False):
        fields["jobs"] = execution.jobs + 1
    return fields


def _marked(execution: Execution, marks: Marks) -> dict[str, Any]:
    fields: dict[str, Any] = dict(marks)
    if fields.pop("cancel", False):
        fields["cancel_requested_at"] = execution.cancel_requested_at or utc_now()
    if fields.pop("partial", False):
        fields["partial_asked"] = True
    if fields.pop("new_job", False):
        fields["jobs"] = execution.jobs + 1
    return fields


def _admission(tables: Tables, limits: Limits) -> Admission:
    there = Counter((each.workflow_name, each.status) for each in seen(tables))
    return Admission(limits, len(queued(tables)), there)
