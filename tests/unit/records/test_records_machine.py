"""Any sequence of changes, legal or not, against a plain model."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from wildcast.contract.status import TRANSITIONS, ExecutionStatus
from wildcast.contract.wire import Publication
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import StatusConflictError
from wildcast_server.records import MemoryRecords, PageQuery, Records, SqlRecords, ensure_schema, open_engine

THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STATUSES = st.sampled_from(list(ExecutionStatus))


def _sqlite() -> Records:
    engine = open_engine("sqlite://")
    ensure_schema(engine)
    return SqlRecords(engine)


class RecordsMachine(RuleBasedStateMachine):
    """The model is a dictionary by id; what it does not hold, the implementations must agree on."""

    ids = Bundle("ids")

    @initialize()
    def open(self):
        """Begin with nothing, in both implementations."""
        self.both: list[Records] = [_sqlite(), MemoryRecords()]
        self.model: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()

    def teardown(self):
        """Close the database."""
        for records in self.both:
            records.close()

    @rule(target=ids)
    def insert(self):
        """Submit an execution."""
        new = Execution(id=f"exec_1_{len(self.model):08x}", workflow_name="w", parameters={}, created_at=THEN, jobs=1)
        for records in self.both:
            records.insert(new)
        self.model[new.id] = {"status": new.status, "attempt": 1, "progress": None, "published": False, "jobs": 1}
        return new.id

    @rule(
        chosen=ids,
        guess=st.sets(STATUSES, max_size=3),
        certain=st.booleans(),
        to=STATUSES,
        attempt=st.sampled_from([None, 1, 2]),
        new_attempt=st.sampled_from([None, 2, 3]),
        job=st.sampled_from([None, 1, 2]),
        new_job=st.booleans(),
    )
    def change(
        self,
        chosen: str,
        guess: set[ExecutionStatus],
        certain: bool,
        to: ExecutionStatus,
        attempt: int | None,
        new_attempt: int | None,
        job: int | None,
        new_job: bool,
    ):
        """Try a change; it happens if, and only if, the model says so."""
        entry = self.model[chosen]
        expected = guess | {entry["status"]} if certain else guess
        fields: dict[str, Any] = {"new_job": new_job}
        if new_attempt is not None:
            fields["new_attempt"] = new_attempt
        if to is ExecutionStatus.COMPLETED:
            fields = {"published": _published(entry["attempt"]), "new_job": new_job}
        legal = (
            entry["status"] in expected
            and to in TRANSITIONS[entry["status"]]
            and attempt in (None, entry["attempt"])
            and job in (None, entry["jobs"])
            and fields.get("new_attempt", 99) > entry["attempt"]
        )
        for records in self.both:
            change = partial(records.change, chosen, expected=expected, to=to, attempt=attempt, job=job, **fields)
            assert _done(change) is legal
        if legal:
            entry.update(status=to, attempt=fields.get("new_attempt", entry["attempt"]), jobs=entry["jobs"] + new_job)
            entry["published"] = ("published" in fields or entry["published"]) and "new_attempt" not in fields

    @rule(chosen=ids, choice=st.integers(0, 4))
    def go_on(self, chosen: str, choice: int):
        """Make a change that is legal, so that every status is come to."""
        entry = self.model[chosen]
        targets = sorted(TRANSITIONS[entry["status"]])
        if targets:
            to = targets[choice % len(targets)]
            fields = {"published": _published(entry["attempt"])} if to is ExecutionStatus.COMPLETED else {}
            for records in self.both:
                records.change(chosen, expected=entry["status"], to=to, **fields)
            entry.update(status=to, published=entry["published"] or bool(fields))

    @rule(chosen=ids, attempt=st.sampled_from([1, 2]), value=st.integers(0, 100))
    def progress(self, chosen: str, attempt: int, value: int):
        """Report progress; it counts while that attempt runs."""
        entry = self.model[chosen]
        is_active = entry["status"] in (ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
        counts = is_active and entry["attempt"] == attempt
        for records in self.both:
            assert records.set_progress(chosen, attempt, {"progress": value}) is counts
        if counts:
            entry["progress"] = {"progress": value}

    @rule(chosen=ids, job=st.sampled_from([1, 2]), reuse=st.booleans(), elsewhere=st.booleans())
    def begin_attempt(self, chosen: str, job: int, reuse: bool, elsewhere: bool):
        """Begin an attempt; it counts up unless it was queued, and nothing begins that is to be cancelled."""
        entry = self.model[chosen]
        is_due = entry["status"] in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING) and chosen not in self.cancelled
        legal = is_due and entry["jobs"] == job
        options = {"job": job, "worker": "w", "site": "s", "reuse": reuse, "elsewhere": elsewhere, "started_at": THEN}
        for records in self.both:
            assert _done(partial(records.begin_attempt, chosen, **options)) is legal
        if legal:
            stays = reuse or entry["status"] is ExecutionStatus.QUEUED
            entry.update(status=ExecutionStatus.RUNNING, progress=None, attempt=entry["attempt"] + (not stays))
            entry["published"] = entry["published"] and stays

    @rule(chosen=ids, job=st.sampled_from([1, 2]))
    def begin_try(self, chosen: str, job: int):
        """Begin a try of publishing."""
        entry = self.model[chosen]
        legal = entry["status"] is ExecutionStatus.PENDING_RESULTS and entry["jobs"] == job
        for records in self.both:
            assert _done(partial(records.begin_try, chosen, job=job, worker="v")) is legal

    @rule(chosen=ids, guess=st.sets(STATUSES), cancel=st.booleans(), partial_=st.booleans(), pinned=st.booleans())
    def mark(self, chosen: str, guess: set[ExecutionStatus], cancel: bool, partial_: bool, pinned: bool):
        """Mark an execution, whatever its status."""
        legal = self.model[chosen]["status"] in guess
        marks = {"cancel": cancel, "partial": partial_, "pinned": pinned, "expires_at": THEN}
        for records in self.both:
            assert _done(partial(records.mark, chosen, expected=guess, **marks)) is legal
        if legal and cancel:
            self.cancelled.add(chosen)

    @invariant()
    def the_records_are_the_model(self):
        """Every execution, every position and the order of what is unfinished are the model's."""
        queued = [key for key, entry in self.model.items() if entry["status"] is ExecutionStatus.QUEUED]
        open_statuses = {ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS}
        unfinished = [key for key, entry in self.model.items() if entry["status"] in open_statuses]
        for records in self.both:
            told = _told(records)
            assert {execution.id: _seen(execution) for execution in reversed(told)} == self.model
            assert told == _told(self.both[0])
            assert [found.id for found in records.unfinished()] == unfinished
            positions = {key: standing.position for key, standing in records.standings(self.model).items()}
            assert positions == {key: queued.index(key) if key in queued else None for key in self.model}


def _done(change: Callable[[], Execution]) -> bool:
    try:
        change()
    except StatusConflictError:
        return False
    return True


def _told(records: Records) -> list[Execution]:
    """Return everything that is listed; when it was asked for to cancel is by each one's own clock."""
    found = records.page(PageQuery(limit=200)).executions
    return [each.with_changes(cancel_requested_at=each.cancel_requested_at and THEN) for each in found]


def _seen(execution: Execution) -> dict[str, Any]:
    return {
        "status": execution.status,
        "attempt": execution.attempt,
        "progress": execution.progress,
        "published": execution.published is not None,
        "jobs": execution.jobs,
    }


def _published(attempt: int) -> PublicationRecord:
    publication = Publication(prefix="p", attempt=attempt, files=1, bytes=1, manifest="m", verified="local")
    return PublicationRecord(storage_type="server", publication=publication, datasets=(), upload=None)


RecordsMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None, derandomize=True)


class TestRecordsMachine(RecordsMachine.TestCase):
    """Any sequence of changes leaves both implementations where the model is."""
