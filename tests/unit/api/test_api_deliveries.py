"""What a webhook was told, over HTTP."""

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import NewDelivery
from wildcast_server.records import Effects

ID = "exec_1_00000001"
URL = f"/v1/infer/results/{ID}/deliveries"


def test_each_delivery_is_told_and_its_address_is_not(api, records):
    """Tried, refused, and to be tried again; the URL may hold a token."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}, jobs=1))
    assert api.get(URL).json() == {"deliveries": []}

    told = NewDelivery(event="cancelled", url="https://hooks.example/?token=canary", body="{}")
    records.change(ID, expected=Status.QUEUED, to=Status.CANCELLED, effects=Effects(deliveries=[told]))
    (due,) = records.due_deliveries(utc_now(), lease_seconds=60, limit=5)
    records.delivery_failed(due.id, "it answered 500", status=500, next_try_at=utc_now())

    answer = api.get(URL)
    (found,) = answer.json()["deliveries"]
    assert (found["event"], found["tries"], found["last_status"]) == ("cancelled", 1, 500)
    assert (found["last_error"], found["delivered_at"]) == ("it answered 500", None)
    assert found["next_try_at"] is not None
    assert "canary" not in answer.text


def test_an_unknown_execution_is_404(api):
    """As everywhere."""
    assert api.get(URL).status_code == 404
