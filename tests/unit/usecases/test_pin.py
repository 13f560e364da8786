"""Keeping results."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import StatusConflictError
from wildcast_server.records import Effects
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.pin import Pin

ID = "exec_1_00000001"


@pytest.fixture
def pin(records):
    """The use case."""
    return Pin(Lookup(records), records)


@pytest.fixture
def failed(records):
    """An execution whose time has come."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    return records.change(ID, expected=Status.QUEUED, to=Status.FAILED, ended_at=utc_now(), expires_at=utc_now())


def expired(records):
    return [each.id for each in records.expire(utc_now(), limit=10, effects=lambda _execution: Effects())]


@pytest.mark.usefixtures("failed")
def test_what_is_pinned_does_not_expire_until_it_is_let_go(pin, records):
    """Its time stays, so it goes at once then."""
    assert pin("simulate", ID).pinned
    assert expired(records) == []
    assert not pin("simulate", ID, pinned=False).pinned
    assert expired(records) == [ID]


@pytest.mark.usefixtures("failed")
def test_what_expires_in_between_is_refused(pin, records):
    """There was something to keep when it was looked up."""
    original = records.mark

    def late(name, **options):
        assert expired(records) == [ID]
        return original(name, **options)

    records.mark = late
    with pytest.raises(StatusConflictError, match="have expired"):
        pin("simulate", ID)
