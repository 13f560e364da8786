"""Listing over HTTP: filters, pages and cursors."""

import base64
from datetime import UTC, datetime, timedelta
from itertools import chain, count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api.cursors import write_cursor
from wildcast_server.domain.execution import Execution

URL = "/v1/infer"
START = datetime(2026, 1, 28, tzinfo=UTC)
COLOURS = ("red", "green")
RUNS = count(1)


def add(records, number, *, second=None, workflow="results", colour="red", status=Status.QUEUED, run=0):
    execution = Execution(
        id=f"exec_{1 + run}_{number:08x}",
        workflow_name=workflow,
        parameters={},
        created_at=START + timedelta(seconds=number if second is None else second),
        labels={"colour": colour, "number": str(number), "run": str(run)},
    )
    records.insert(execution)
    if status is not Status.QUEUED:
        records.change(execution.id, expected=Status.QUEUED, to=status)
    return execution.id


def listed(api, path=URL, **query):
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [each["execution_id"] for each in answer.json()["executions"]], answer.json()["next_cursor"]


def walk(api, path=URL, **query):
    cursor, found = None, []
    while True:
        names, cursor = listed(api, path, **query, **({} if cursor is None else {"cursor": cursor}))
        found.append(names)
        if cursor is None:
            return found


def test_the_newest_come_first_as_their_status_says(api, records):
    """Each entry is what `…/status` answers."""
    names = [add(records, number) for number in range(3)]
    body = api.get(URL).json()
    assert [each["execution_id"] for each in body["executions"]] == names[::-1]
    assert body["executions"] == [api.get(f"{URL}/results/{name}/status").json() for name in names[::-1]]
    assert body["next_cursor"] is None


FILTERED = [
    ({}, [7, 6, 5, 4, 3, 2, 1, 0]),
    ({"status": "failed"}, [7, 5, 3, 1]),
    ({"status": ["failed", "queued"]}, [7, 6, 5, 4, 3, 2, 1, 0]),
    ({"status": "running"}, []),
    ({"label": "colour=green"}, [6, 3, 0]),
    ({"label": ["colour=green", "number=3"]}, [3]),
    ({"label": ["colour=green", "number=4"]}, []),
    ({"label": "colour=gree"}, []),
    ({"label": "other=1"}, []),
    ({"since": "2026-01-28T00:00:05Z"}, [7, 6, 5]),
    ({"until": "2026-01-28T00:00:05Z"}, [4, 3, 2, 1, 0]),
    ({"since": "2026-01-28T01:00:02+01:00", "until": "2026-01-28T00:00:04Z"}, [3, 2]),
    ({"status": "failed", "label": "colour=green"}, [3]),
    ({"id": "exec_1_00000004"}, [4]),
    ({"id": ["exec_1_00000004", "exec_1_00000005", "exec_9_00000005"]}, [5, 4]),
    ({"id": ["exec_1_00000004", "exec_1_00000005"], "status": "failed"}, [5]),
    ({"id": "is-no-id"}, []),
]


def test_filters_narrow_the_list(api, records):
    """Several statuses are any of them, several labels all of them; `since` is included and `until` is not."""
    for number in range(8):
        status = Status.FAILED if number % 2 else Status.QUEUED
        add(records, number, colour="red" if number % 3 else "green", status=status)
    for query, numbers in FILTERED:
        expected = [f"exec_1_{number:08x}" for number in numbers]
        assert listed(api, **query)[0] == expected, query
        assert list(chain(*walk(api, limit=2, **query))) == expected, query


def test_a_workflow_lists_its_own(api, records):
    """And nothing of another one, which is unknown if it neither is there nor ever was."""
    mine, other = add(records, 1), add(records, 2, workflow="gone")
    assert listed(api, f"{URL}/results") == ([mine], None)
    assert listed(api, f"{URL}/gone") == ([other], None)
    answer = api.get(f"{URL}/missing")
    assert answer.status_code == 404
    assert "missing" in answer.json()["error"]


def test_a_name_that_no_workflow_can_have_asks_no_database(api, records):
    """It may be no text that every database takes."""
    records.page = None
    for name in ("%00", "a%00b", "caf%C3%A9", "%0A"):
        assert api.get(f"{URL}/{name}").status_code == 404


def test_the_reserved_name_is_still_the_list_of_workflows(api):
    """`/v1/infer/workflows` is no workflow's list of executions."""
    assert api.get(f"{URL}/workflows").json().keys() == {"workflows"}


def test_executions_of_one_moment_are_all_listed(api, records):
    """Their order is that of submission."""
    names = [add(records, number, second=0) for number in range(7)]
    assert walk(api, limit=3) == [names[:3:-1], names[3:0:-1], names[:1]]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.lists(st.integers(0, 5), max_size=12),
    colour=st.sampled_from((None, *COLOURS)),
    limit=st.integers(1, 5),
    late=st.lists(st.integers(0, 9), max_size=4),
)
def test_pages_are_the_list_without_gaps_or_doubles(api, records, seconds, colour, limit, late):
    """Whatever is submitted between two pages: all that was there at the first is found once, in order."""
    run = next(RUNS)
    for number, second in enumerate(seconds):
        add(records, number, second=second, colour=COLOURS[number % 2], run=run)
    every = sorted(range(len(seconds)), key=lambda number: (seconds[number], number), reverse=True)
    expected = [f"exec_{1 + run}_{number:08x}" for number in every if colour in {None, COLOURS[number % 2]}]
    query = {"limit": limit, "label": [f"run={run}"] + ([] if colour is None else [f"colour={colour}"])}
    found, cursor, more = [], None, list(enumerate(late, 1000))
    while True:
        names, cursor = listed(api, **query, **({} if cursor is None else {"cursor": cursor}))
        assert len(names) <= limit
        found += names
        if more:
            number, second = more.pop()
            add(records, number, second=second, run=run)
        if cursor is None:
            break
    assert [name for name in found if name in set(expected)] == expected
    assert len(found) == len(set(found))


def test_a_cursor_is_for_its_own_list_alone(api, records):
    """With other filters it is refused, and not taken for some place in their list; how long pages are may change."""
    for number in range(4):
        add(records, number)
    _, cursor = listed(api, f"{URL}/results", limit=1, status="queued", label="colour=red")
    same = {"cursor": cursor, "status": "queued", "label": "colour=red"}
    assert len(listed(api, f"{URL}/results", limit=200, **same)[0]) == 3
    for path, query in (
        (URL, same),
        (f"{URL}/results", same | {"status": "failed"}),
        (f"{URL}/results", same | {"label": "colour=green"}),
        (f"{URL}/results", same | {"since": "2026-01-01T00:00:00Z"}),
        (f"{URL}/results", same | {"id": "exec_1_00000000"}),
        (f"{URL}/results", {"cursor": cursor}),
    ):
        answer = api.get(path, params=query)
        assert answer.status_code == 422
        assert "another list" in answer.json()["error"]


NO_FILTERS = [None, [], [], [], None, None, None]


FORGED = [
    "",
    "x",
    "%",
    "é",
    "A" * 5000,
    base64.urlsafe_b64encode(b"[1,2]").decode(),
    base64.urlsafe_b64encode(b"{}").decode(),
    write_cursor(NO_FILTERS, ["2026-01-28T00:00:00", 1]),
    write_cursor(NO_FILTERS, ["2026-01-28T00:00:00Z", -1]),
    write_cursor(NO_FILTERS, ["2026-01-28T00:00:00Z", 2**63]),
    write_cursor(NO_FILTERS, ["0001-01-01T00:00:00+23:00", 1]),
    write_cursor(NO_FILTERS, [1, 1]),
]


def test_a_cursor_that_is_none_is_refused(api):
    """Also one that was put together by hand, with numbers that no database takes."""
    for cursor in FORGED:
        answer = api.get(URL, params={"cursor": cursor})
        assert answer.status_code == 422, cursor
        assert "cursor" in answer.json()["error"]


REFUSED = [
    {"limit": 0},
    {"limit": 201},
    {"limit": "many"},
    {"status": "done"},
    {"id": "exec_1_\x00"},
    {"id": ["exec_1_00000000"] * 201},
    {"since": "yesterday"},
    {"since": "2026-01-28T00:00:00"},
    {"until": "0001-01-01T00:00:00+23:00"},
    {"label": "colour"},
    {"label": ["colour=red", "colour=green"]},
    {"label": "colour=\x00"},
    {"label": "colour\x00=red"},
    {"label": "colour=" + "x" * 256},
]


def test_a_query_that_cannot_be_understood_is_refused(api):
    """The sentence names the parameter."""
    for query in REFUSED:
        answer = api.get(URL, params=query)
        assert answer.status_code == 422, query
        assert next(iter(query)) in answer.json()["error"]


def test_the_whole_list_is_never_kept(api):
    """It is true now, and another moment it is not."""
    assert api.get(URL).headers["cache-control"] == "no-store"
