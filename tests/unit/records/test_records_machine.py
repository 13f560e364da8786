"""Any sequence of changes, legal or not, against a plain model."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from wildcast.contract.status import TRANSITIONS, ExecutionStatus
from wildcast.contract.wire import Publication
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import StatusConflictError
from wildcast_server.records import MemoryRecords, Records, SqlRecords, ensure_schema, open_engine

STATUSES = st.sampled_from(list(ExecutionStatus))


def _sqlite() -> Records:
    engine = open_engine("sqlite://")
    ensure_schema(engine)
    return SqlRecords(engine)


class RecordsMachine(RuleBasedStateMachine):
    """The model is a dictionary by id: status, attempt, progress, whether it was published."""

    ids = Bundle("ids")

    @initialize()
    def open(self):
        """Begin with nothing, in both implementations."""
        self.both: list[Records] = [_sqlite(), MemoryRecords()]
        self.model: dict[str, dict[str, Any]] = {}

    def teardown(self):
        """Close the database."""
        for records in self.both:
            records.close()

    @rule(target=ids)
    def insert(self):
        """Submit an execution."""
        new = Execution(id=f"exec_1_{len(self.model):08x}", workflow_name="w", parameters={})
        for records in self.both:
            records.insert(new)
        self.model[new.id] = {"status": new.status, "attempt": 1, "progress": None, "published": False}
        return new.id

    @rule(
        chosen=ids,
        guess=st.sets(STATUSES, max_size=3),
        certain=st.booleans(),
        to=STATUSES,
        attempt=st.sampled_from([None, 1, 2]),
        new_attempt=st.sampled_from([None, 2, 3]),
    )
    def change(
        self,
        chosen: str,
        guess: set[ExecutionStatus],
        certain: bool,
        to: ExecutionStatus,
        attempt: int | None,
        new_attempt: int | None,
    ):
        """Try a change; it happens if, and only if, the model says so."""
        entry = self.model[chosen]
        expected = guess | {entry["status"]} if certain else guess
        fields: dict[str, Any] = {} if new_attempt is None else {"new_attempt": new_attempt}
        if to is ExecutionStatus.COMPLETED:
            fields = {"published": _published(entry["attempt"])}
        legal = (
            entry["status"] in expected
            and to in TRANSITIONS[entry["status"]]
            and attempt in (None, entry["attempt"])
            and fields.get("new_attempt", 99) > entry["attempt"]
        )
        for records in self.both:
            assert _changed(records, chosen, expected, to, attempt, fields) is legal
        if legal:
            entry.update(status=to, attempt=fields.get("new_attempt", entry["attempt"]))
            entry["published"] = ("published" in fields or entry["published"]) and "new_attempt" not in fields

    @rule(chosen=ids, attempt=st.sampled_from([1, 2]), value=st.integers(0, 100))
    def progress(self, chosen: str, attempt: int, value: int):
        """Report progress; it counts while that attempt runs."""
        entry = self.model[chosen]
        counts = entry["status"] is ExecutionStatus.RUNNING and entry["attempt"] == attempt
        for records in self.both:
            assert records.set_progress(chosen, attempt, {"progress": value}) is counts
        if counts:
            entry["progress"] = {"progress": value}

    @invariant()
    def the_records_are_the_model(self):
        """Every execution, every position and the order of what is unfinished are the model's."""
        queued = [key for key, entry in self.model.items() if entry["status"] is ExecutionStatus.QUEUED]
        open_statuses = {ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS}
        unfinished = [key for key, entry in self.model.items() if entry["status"] in open_statuses]
        for records in self.both:
            assert {key: _seen(records.get(key)) for key in self.model} == self.model
            assert [found.id for found in records.unfinished()] == unfinished
            positions = {key: records.queue_position(key) for key in self.model}
            assert positions == {key: queued.index(key) if key in queued else None for key in self.model}


def _changed(
    records: Records,
    chosen: str,
    expected: set[ExecutionStatus],
    to: ExecutionStatus,
    attempt: int | None,
    fields: dict[str, Any],
) -> bool:
    try:
        records.change(chosen, expected=expected, to=to, attempt=attempt, **fields)
    except StatusConflictError:
        return False
    return True


def _seen(execution: Execution) -> dict[str, Any]:
    return {
        "status": execution.status,
        "attempt": execution.attempt,
        "progress": execution.progress,
        "published": execution.published is not None,
    }


def _published(attempt: int) -> PublicationRecord:
    publication = Publication(prefix="p", attempt=attempt, files=1, bytes=1, manifest="m", verified="local")
    return PublicationRecord(storage_type="server", publication=publication, datasets=(), upload=None)


RecordsMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None, derandomize=True)


class TestRecordsMachine(RecordsMachine.TestCase):
    """Any sequence of changes leaves both implementations where the model is."""
