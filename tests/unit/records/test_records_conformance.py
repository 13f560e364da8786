"""What every implementation of the records' port does."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from wildcast.contract.manifest import Dataset
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance, Publication, Upload
from wildcast_server.domain.execution import Execution, PublicationRecord, utc_now
from wildcast_server.errors import QueueFullError, RecordError, StatusConflictError, UnknownExecutionError
from wildcast_server.records import Limits, Records

S = ExecutionStatus

RAN = Provenance(
    host="node-7",
    wildcast="1.2.3",
    python="3.12.1",
    platform="Linux",
    workflow_sha256="ab" * 32,
    device="cuda:0 (a card)",
    peak_memory_bytes=2**40,
    queued_seconds=0.25,
    compute_seconds=1.5,
    publish_seconds=None,
)


def execution(number: int = 1, **fields: object) -> Execution:
    return Execution(id=f"exec_1_{number:08x}", workflow_name="w", parameters={"a": [1, {"b": None}]}).with_changes(
        **fields
    )


def published(attempt: int = 1, *, upload: Upload | None = None) -> PublicationRecord:
    return PublicationRecord(
        storage_type="s3",
        publication=Publication(
            prefix="outputs/exec_1",
            attempt=attempt,
            files=3,
            bytes=2**40,
            manifest="outputs/exec_1/.wildcast/manifest.json.gz",
            verified="crc64nvme",
        ),
        datasets=(Dataset(path="a.zarr", format="zarr3", group="g"), Dataset(path="b.nc", format="netcdf")),
        upload=upload,
    )


def advance(records: Records, execution_id: str, *statuses: ExecutionStatus) -> Execution:
    current = records.get(execution_id)
    for status in statuses:
        extra = {"published": published(current.attempt)} if status is S.COMPLETED else {}
        current = records.change(execution_id, expected=current.status, to=status, **extra)
    return current


def test_an_inserted_execution_comes_back_as_it_was(records: Records):
    """Every field survives, times to the microsecond and aware."""
    given = execution(owner="ann", created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    records.insert(given)
    assert records.get(given.id) == given


def test_times_of_other_zones_come_back_in_utc(records: Records):
    """A time is the same moment, told in UTC."""
    there = datetime(2026, 1, 2, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    records.insert(execution(created_at=there))
    found = records.get(execution().id).created_at
    assert (found, found.utcoffset()) == (there, timedelta(0))


def test_a_time_without_zone_is_refused(records: Records):
    """A naive time could mean any moment, so it is not recorded."""
    with pytest.raises(ValueError, match="zone"):
        records.insert(execution(created_at=datetime(2026, 1, 2)))  # noqa: DTZ001 - the case


def test_an_id_is_taken_once(records: Records):
    """A second execution of the same id is refused and the first stays."""
    records.insert(execution(owner="first"))
    with pytest.raises(RecordError, match="already"):
        records.insert(execution(owner="second"))
    assert records.get(execution().id).owner == "first"


def test_an_execution_does_not_begin_with_a_publication(records: Records):
    """Only `change` records a publication."""
    with pytest.raises(ValueError, match="begin with"):
        records.insert(execution(published=published()))


def test_an_unknown_execution_is_an_error(records: Records):
    """Both reading and changing say that there is none."""
    with pytest.raises(UnknownExecutionError, match="exec_9"):
        records.get("exec_9")
    with pytest.raises(UnknownExecutionError, match="exec_9"):
        records.change("exec_9", expected=S.QUEUED, to=S.RUNNING)


def test_a_change_sets_status_and_fields_together(records: Records):
    """What change returns is what get finds."""
    records.insert(execution())
    started = utc_now()
    changed = records.change(execution().id, expected=S.QUEUED, to=S.RUNNING, started_at=started)
    assert (changed.status, changed.started_at) == (S.RUNNING, started)
    assert records.get(execution().id) == changed


def test_a_change_from_another_status_is_refused_and_names_it(records: Records):
    """Compare and set: whoever comes second is told where the execution stands, and nothing is changed."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING)
    with pytest.raises(StatusConflictError, match="is running in attempt 1"):
        records.change(execution().id, expected=S.QUEUED, to=S.CANCELLED, error_message="no")
    assert records.get(execution().id).error_message is None


def test_any_of_several_expected_statuses_will_do(records: Records):
    """A collection of statuses is met by each of its members."""
    records.insert(execution())
    assert records.change(execution().id, expected=(S.RUNNING, S.QUEUED), to=S.CANCELLED).status is S.CANCELLED


def test_an_illegal_transition_is_refused_even_if_the_status_is_as_expected(records: Records):
    """The contract's table has the last word."""
    records.insert(execution())
    with pytest.raises(StatusConflictError, match="is queued"):
        records.change(execution().id, expected=S.QUEUED, to=S.PENDING_RESULTS)


def test_a_change_of_another_attempt_is_refused(records: Records):
    """A worker that was given up cannot touch the attempt after its own."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING)
    records.change(execution().id, expected=S.RUNNING, to=S.QUEUED, new_attempt=2)
    advance(records, execution().id, S.RUNNING)
    with pytest.raises(StatusConflictError, match="attempt 2"):
        records.change(execution().id, expected=S.RUNNING, to=S.PENDING_RESULTS, attempt=1)


def test_attempts_only_count_up(records: Records):
    """A new attempt with the number of an old one is refused."""
    records.insert(execution(attempt=3))
    advance(records, execution().id, S.RUNNING)
    with pytest.raises(StatusConflictError):
        records.change(execution().id, expected=S.RUNNING, to=S.QUEUED, new_attempt=3)


def test_fields_can_be_emptied(records: Records):
    """None is a value: a requeued execution has not started."""
    records.insert(execution())
    records.change(execution().id, expected=S.QUEUED, to=S.RUNNING, started_at=utc_now(), progress={"progress": 1})
    again = records.change(
        execution().id, expected=S.RUNNING, to=S.QUEUED, new_attempt=2, started_at=None, progress=None
    )
    assert (again.started_at, again.progress, again.attempt) == (None, None, 2)


@pytest.mark.parametrize("upload", [None, Upload(seconds=1.5, bytes_per_second=2e9)])
def test_completing_records_the_publication(records: Records, upload: Upload | None):
    """The publication comes back with the execution, datasets in order."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.PENDING_RESULTS)
    record = published(upload=upload)
    records.change(execution().id, expected=S.PENDING_RESULTS, to=S.COMPLETED, attempt=1, published=record)
    assert records.get(execution().id).published == record


def test_completing_needs_a_publication(records: Records):
    """There is no completed execution without results."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.PENDING_RESULTS)
    with pytest.raises(ValueError, match="publication"):
        records.change(execution().id, expected=S.PENDING_RESULTS, to=S.COMPLETED)
    assert records.get(execution().id).status is S.PENDING_RESULTS


def test_only_completing_records_a_publication(records: Records):
    """A failed execution has none."""
    records.insert(execution())
    with pytest.raises(ValueError, match="publication"):
        records.change(execution().id, expected=S.QUEUED, to=S.FAILED, published=published())


def test_the_publication_of_another_attempt_changes_nothing(records: Records):
    """Status and publication change together or not at all."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.PENDING_RESULTS)
    with pytest.raises(ValueError, match="attempt 7"):
        records.change(execution().id, expected=S.PENDING_RESULTS, to=S.COMPLETED, published=published(7))
    assert records.get(execution().id).status is S.PENDING_RESULTS


def test_an_expired_execution_keeps_its_publication(records: Records):
    """What was removed can still be told."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.PENDING_RESULTS, S.COMPLETED, S.EXPIRED)
    assert records.get(execution().id).published == published()


def test_progress_is_recorded_while_its_attempt_runs(records: Records):
    """A workflow's own fields are kept."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING)
    assert records.set_progress(execution().id, 1, {"progress": 40, "member": "p01"})
    assert records.get(execution().id).progress == {"progress": 40, "member": "p01"}


@pytest.mark.parametrize("attempt", [0, 2])
def test_progress_of_another_attempt_is_dropped(records: Records, attempt: int):
    """A worker that was given up reports to nobody."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING)
    assert not records.set_progress(execution().id, attempt, {"progress": 1})
    assert records.get(execution().id).progress is None


def test_progress_is_recorded_while_results_are_pending(records: Records):
    """How far publishing has come is told like the workflow's own progress."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.PENDING_RESULTS)
    assert records.set_progress(execution().id, 1, {"publication": {"files_done": 3}})
    assert records.get(execution().id).progress == {"publication": {"files_done": 3}}


def test_progress_is_dropped_unless_active(records: Records):
    """A report that comes late does not disturb the end, and one of nothing is no error."""
    records.insert(execution())
    advance(records, execution().id, S.RUNNING, S.FAILED)
    assert not records.set_progress(execution().id, 1, {"progress": 1})
    assert not records.set_progress("exec_9", 1, {"progress": 1})


def test_json_has_no_infinities(records: Records):
    """A number that JSON cannot express is recorded as null."""
    records.insert(execution(parameters={"a": (math.nan, 1)}))
    advance(records, execution().id, S.RUNNING)
    records.set_progress(execution().id, 1, {"loss": math.inf})
    found = records.get(execution().id)
    assert (found.parameters, found.progress) == ({"a": [None, 1]}, {"loss": None})


def test_an_error_message_of_strange_characters_is_recorded(records: Records):
    """NUL and lone surrogates, which no database takes, do not lose the reason."""
    records.insert(execution())
    records.change(execution().id, expected=S.QUEUED, to=S.FAILED, error_message="a\0b\udcff ü")
    assert records.get(execution().id).error_message == "a\ufffdb? ü"


def test_what_ran_is_recorded(records: Records):
    """Every member comes back, also that of an execution that fails; a new attempt may begin with none."""
    records.insert(execution())
    assert records.change(execution().id, expected=S.QUEUED, to=S.RUNNING, provenance=RAN).provenance == RAN
    assert advance(records, execution().id, S.FAILED).provenance == RAN
    assert records.get(execution().id).provenance == RAN


def test_what_ran_can_be_emptied_and_inserted(records: Records):
    """None is a value here too, and a new execution may bring one along."""
    records.insert(execution(provenance=RAN))
    assert records.get(execution().id).provenance == RAN
    assert records.change(execution().id, expected=S.QUEUED, to=S.RUNNING, provenance=None).provenance is None


def test_a_full_queue_takes_no_more(records: Records):
    """What would be one too many is not recorded; the sentence has the bound, and when to come again."""
    for number in range(2):
        records.insert(execution(number), limits=Limits(max_queued=2))
    with pytest.raises(QueueFullError, match="no more than 2") as caught:
        records.insert(execution(2), limits=Limits(max_queued=2))
    assert caught.value.retry_after > 0
    assert [found.id for found in records.unfinished()] == [execution(number).id for number in range(2)]


def test_a_result_is_remembered_however_old_it_is(records: Records):
    """No clock makes the records forget where a publication lies."""
    long_ago = utc_now() - timedelta(days=4_000)
    records.insert(execution(created_at=long_ago))
    records.change(execution().id, expected=S.QUEUED, to=S.RUNNING, started_at=long_ago)
    advance(records, execution().id, S.PENDING_RESULTS)
    records.change(execution().id, expected=S.PENDING_RESULTS, to=S.COMPLETED, ended_at=long_ago, published=published())
    found = records.get(execution().id)
    assert (found.status, found.published, found.ended_at) == (S.COMPLETED, published(), long_ago)


@pytest.mark.parametrize("max_queued", [None, 10])
def test_an_insertion_tells_how_many_wait_before_it(records: Records, max_queued):
    """It is the position at that moment, whether the queue is bounded or not."""
    assert [
        records.insert(execution(number), limits=Limits(max_queued=max_queued)).position for number in range(3)
    ] == [0, 1, 2]
    advance(records, execution(0).id, S.RUNNING)
    assert records.insert(execution(3), limits=Limits(max_queued=max_queued)).position == 2


def test_only_what_is_queued_fills_the_queue(records: Records):
    """A place is free as soon as an execution begins."""
    records.insert(execution(0), limits=Limits(max_queued=1))
    advance(records, execution(0).id, S.RUNNING)
    records.insert(execution(1), limits=Limits(max_queued=1))
    assert records.queue_position(execution(1).id) == 0


def test_positions_count_those_queued_before(records: Records):
    """They begin at zero and close up when one leaves the queue."""
    for number in range(3):
        records.insert(execution(number, created_at=utc_now() - timedelta(hours=number)))
    assert [records.queue_position(execution(number).id) for number in range(3)] == [0, 1, 2]
    advance(records, execution(0).id, S.RUNNING)
    assert [records.queue_position(execution(number).id) for number in range(3)] == [None, 0, 1]


def test_what_is_not_there_has_no_position(records: Records):
    """An unknown id is not queued."""
    assert records.queue_position("exec_9") is None


def test_an_execution_that_is_queued_again_takes_its_old_place(records: Records):
    """Losing a worker does not send it to the end of the queue."""
    for number in range(2):
        records.insert(execution(number))
    advance(records, execution(0).id, S.RUNNING)
    records.change(execution(0).id, expected=S.RUNNING, to=S.QUEUED, new_attempt=2)
    assert records.queue_position(execution(0).id) == 0


def test_unfinished_are_those_that_a_restart_takes_up(records: Records):
    """Queued, running and pending ones, in the order of submission; none that has ended."""
    paths = [(S.RUNNING, S.PENDING_RESULTS), (S.FAILED,), (S.RUNNING,), (S.CANCELLED,), ()]
    for number, path in enumerate(paths):
        records.insert(execution(number))
        advance(records, execution(number).id, *path)
    advance_to_end = execution(9)
    records.insert(advance_to_end)
    advance(records, advance_to_end.id, S.RUNNING, S.PENDING_RESULTS, S.COMPLETED)
    assert [found.id for found in records.unfinished()] == [execution(number).id for number in (0, 2, 4)]
    assert [found.id for found in records.unfinished(S.PENDING_RESULTS)] == [execution(0).id]
    assert [found.id for found in records.unfinished(S.QUEUED, S.RUNNING)] == [
        execution(number).id for number in (2, 4)
    ]


def test_what_is_returned_is_the_callers_own(records: Records):
    """Changing a dictionary that came from the records changes nothing in them."""
    records.insert(execution())
    records.get(execution().id).parameters["a"] = "spoilt"
    assert records.get(execution().id).parameters == execution().parameters


def test_records_that_can_be_reached_pass_the_check(records: Records):
    """A health check is quiet when all is well."""
    records.check()
