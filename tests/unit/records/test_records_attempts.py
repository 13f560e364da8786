"""Beginning attempts and tries, marking, and heeding: by every implementation of the port alike."""

from datetime import timedelta

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Publication
from wildcast_server.domain.execution import Execution, PublicationRecord, utc_now
from wildcast_server.errors import StatusConflictError, UnknownExecutionError
from wildcast_server.records import Heed, Records

S = ExecutionStatus
NAME = "exec_1_00000001"
FINAL = (S.COMPLETED, S.FAILED, S.CANCELLED, S.EXPIRED)


def submit(records: Records, name: str = NAME, **fields: object) -> Execution:
    given = Execution(id=name, workflow_name="w", parameters={}, jobs=1).with_changes(**fields)
    return records.insert(given).execution


def begin(records: Records, **options: object) -> Execution:
    usual = {"job": 1, "worker": "a", "site": "s", "reuse": False, "elsewhere": False, "started_at": utc_now()}
    return records.begin_attempt(NAME, **{**usual, **options})


def advance(records: Records, *statuses: ExecutionStatus, **changes: object) -> Execution:
    for status in statuses:
        current = records.get(NAME)
        extra = {"published": published(current.attempt)} if status is S.COMPLETED else {}
        current = records.change(NAME, expected=current.status, to=status, **extra, **changes)
    return current


def published(attempt: int) -> PublicationRecord:
    publication = Publication(prefix="p", attempt=attempt, files=1, bytes=1, manifest="p/m", verified="local")
    return PublicationRecord(storage_type="s3", publication=publication, datasets=(), upload=None)


def test_the_first_attempt_is_the_one_that_was_queued(records: Records):
    """It says who runs it, where, and since when."""
    submit(records)
    started = utc_now()
    found = begin(records, worker="host-1", site="disk", started_at=started)
    assert (found.status, found.attempt, found.place) == (S.RUNNING, 1, 1)
    assert (found.worker, found.site, found.started_at) == ("host-1", "disk", started)
    assert records.get(NAME) == found


def test_another_attempt_counts_up(records: Records):
    """Who takes over what was running begins anew, without the progress of before."""
    submit(records)
    begin(records)
    records.set_progress(NAME, 1, {"progress": 1})
    found = begin(records, worker="b")
    assert (found.attempt, found.place, found.worker, found.progress) == (2, 1, "b", None)


def test_a_death_is_counted_where_one_was(records: Records):
    """By who takes over what was running; neither by what was put back in order, nor by what never began."""
    submit(records)
    deaths = [begin(records).deaths, begin(records, reuse=True).deaths]
    advance(records, S.QUEUED)
    deaths += [begin(records).deaths, begin(records).deaths, begin(records).deaths]
    assert deaths == [0, 0, 0, 1, 2]
    assert advance(records, S.QUEUED, deaths=0) == records.get(NAME)
    assert records.get(NAME).deaths == 0


def test_an_attempt_that_never_began_is_used_again(records: Records):
    """Its number stays, so starts and attempts agree."""
    submit(records)
    begin(records)
    assert begin(records, reuse=True).attempt == 1


def test_what_was_put_back_keeps_its_attempt(records: Records):
    """An orderly stop costs no attempt."""
    submit(records)
    begin(records)
    advance(records, S.QUEUED)
    assert begin(records).attempt == 1


def test_another_place_gives_another_name(records: Records):
    """Who ran it before may still write under the name of then."""
    submit(records)
    assert begin(records).name == NAME
    assert begin(records, elsewhere=True).name == f"{NAME}-2"


def test_an_attempt_of_another_job_does_not_begin(records: Records):
    """A job that is not the current one has been replaced."""
    submit(records, jobs=2)
    with pytest.raises(StatusConflictError):
        begin(records, job=1)
    assert records.get(NAME).status is S.QUEUED


def test_what_is_to_be_cancelled_does_not_begin(records: Records):
    """Between asking and beginning nothing slips through."""
    submit(records)
    records.mark(NAME, expected=S.QUEUED, cancel=True)
    with pytest.raises(StatusConflictError, match="to be cancelled"):
        begin(records)


@pytest.mark.parametrize("status", [S.PENDING_RESULTS, S.FAILED])
def test_what_has_computed_does_not_begin_again(records: Records, status: ExecutionStatus):
    """Neither while it is published nor when it has ended."""
    submit(records)
    begin(records)
    advance(records, status)
    with pytest.raises(StatusConflictError, match=status):
        begin(records)


def test_a_new_attempt_has_no_publication_of_the_one_before(records: Records):
    """What an expired execution had published is not what its next attempt publishes."""
    submit(records)
    begin(records)
    advance(records, S.PENDING_RESULTS)
    records.change(NAME, expected=S.PENDING_RESULTS, to=S.QUEUED, new_attempt=2)
    assert begin(records).published is None


def test_tries_of_publishing_are_counted_from_none_in_every_attempt(records: Records):
    """They are counted before the work begins."""
    submit(records)
    begin(records)
    advance(records, S.PENDING_RESULTS)
    assert [records.begin_try(NAME, job=1, worker=worker).tries for worker in ("a", "b")] == [1, 2]
    assert records.get(NAME).worker == "b"
    advance(records, S.QUEUED)
    assert begin(records).tries == 0


def test_a_try_of_another_job_or_status_does_not_begin(records: Records):
    """Nor does one of an execution that there is not."""
    submit(records)
    for name, job, error in ((NAME, 1, StatusConflictError), ("exec_9", 1, UnknownExecutionError)):
        with pytest.raises(error):
            records.begin_try(name, job=job, worker="a")
    begin(records)
    advance(records, S.PENDING_RESULTS)
    with pytest.raises(StatusConflictError):
        records.begin_try(NAME, job=2, worker="a")


def test_a_change_of_another_job_is_refused(records: Records):
    """A worker whose job was replaced records nothing any more."""
    submit(records)
    begin(records)
    records.change(NAME, expected=S.RUNNING, to=S.QUEUED, new_job=True)
    assert records.get(NAME).job_id == f"{NAME}.2"
    with pytest.raises(StatusConflictError):
        records.change(NAME, expected=S.QUEUED, to=S.RUNNING, job=1)
    assert records.change(NAME, expected=S.QUEUED, to=S.RUNNING, job=2).status is S.RUNNING


def test_every_change_has_a_version_of_its_own(records: Records):
    """Who waits for a change sees each, progress included; a refused one is none."""
    submit(records)
    versions = [records.get(NAME).version, begin(records).version]
    records.set_progress(NAME, 1, {})
    versions.append(records.get(NAME).version)
    versions.append(records.mark(NAME, expected=S.RUNNING, partial=True).version)
    versions.append(advance(records, S.PENDING_RESULTS).version)
    versions.append(records.begin_try(NAME, job=1, worker="a").version)
    assert versions == [0, 1, 2, 3, 4, 5]
    assert not records.set_progress(NAME, 7, {})
    assert records.get(NAME).version == 5


def test_what_fails_says_in_what_and_until_when_it_is_kept(records: Records):
    """The fields of an end come back."""
    submit(records)
    begin(records)
    until = utc_now() + timedelta(days=1)
    found = advance(records, S.FAILED, failed_step="compute", expires_at=until, tries=3, place=4, worker=None, site="t")
    assert (found.failed_step, found.expires_at, found.tries, found.place) == ("compute", until, 3, 4)
    assert (found.worker, found.site) == (None, "t")
    assert records.get(NAME) == found


def test_who_asked_first_is_remembered(records: Records):
    """To cancel twice changes nothing of the first time, and a retry can take it back."""
    submit(records)
    begin(records)
    first = records.mark(NAME, expected=S.RUNNING, cancel=True).cancel_requested_at
    assert first is not None
    assert records.mark(NAME, expected=S.RUNNING, cancel=True).cancel_requested_at == first
    assert advance(records, S.FAILED).cancel_requested_at == first
    assert advance(records, S.QUEUED, cancel_requested_at=None).cancel_requested_at is None


def test_marks_are_set_each_for_itself(records: Records):
    """What is not named stays."""
    submit(records)
    until = utc_now()
    records.mark(NAME, expected=S.QUEUED, pinned=True)
    records.mark(NAME, expected=S.QUEUED, expires_at=until)
    found = records.mark(NAME, expected=S.QUEUED, partial=True)
    assert (found.pinned, found.expires_at, found.partial_asked, found.status) == (True, until, True, S.QUEUED)
    assert records.mark(NAME, expected=(S.QUEUED,), pinned=False, expires_at=None).expires_at is None


def test_a_mark_of_another_status_is_refused(records: Records):
    """It is compare and set like a change."""
    submit(records)
    with pytest.raises(StatusConflictError, match="is queued"):
        records.mark(NAME, expected=FINAL, deleted_at=utc_now())
    with pytest.raises(UnknownExecutionError):
        records.mark("exec_9", expected=S.QUEUED, pinned=True)


def test_a_deleted_execution_is_unknown(records: Records):
    """To everybody but who removes it."""
    submit(records)
    advance(records, S.FAILED)
    records.mark(NAME, expected=FINAL, deleted_at=utc_now())
    assert records.get(NAME, deleted=True).deleted_at is not None
    assert records.standings([NAME]) == {}
    for call in (records.get, lambda name: records.mark(name, expected=FINAL, pinned=True)):
        with pytest.raises(UnknownExecutionError):
            call(NAME)
    with pytest.raises(UnknownExecutionError):
        records.change(NAME, expected=S.FAILED, to=S.QUEUED)


def test_all_that_run_are_heeded_at_once(records: Records):
    """Who is current, who is to be cancelled, and of whom somebody wants to read."""
    for number in range(4):
        submit(records, f"exec_1_{number:08x}")
        records.change(f"exec_1_{number:08x}", expected=S.QUEUED, to=S.RUNNING)
    records.mark("exec_1_00000001", expected=S.RUNNING, cancel=True)
    records.mark("exec_1_00000002", expected=S.RUNNING, partial=True)
    records.change("exec_1_00000003", expected=S.RUNNING, to=S.FAILED)
    plain, gone = (Heed(is_current=current, cancel=False, partial=False) for current in (True, False))
    expected = [plain, plain._replace(cancel=True), plain._replace(partial=True), gone, gone]
    asked = {**{f"exec_1_{number:08x}": 1 for number in range(4)}, "exec_9": 1}
    assert list(records.heed(asked).values()) == expected
    assert records.heed({"exec_1_00000000": 2}) == {"exec_1_00000000": gone}
    assert records.heed({}) == {}
