"""The query of a page of executions.

A page is found by its place in an index that has the executions in the list's order, never by counting: so the last
one costs what the first one does. The filters that pick an index are the workflow, the status, the ids and one label.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, select, tuple_

from wildcast_server.records.queries import EXECUTION
from wildcast_server.records.tables import executions, labels
from wildcast_server.records.values import PageQuery

_E = executions.c


def page(query: PageQuery) -> Select[Any]:
    """Build the query of a page, and of one execution more, which tells whether there is another page."""
    sequences = picked(query).scalar_subquery()
    return EXECUTION.where(_E.sequence.in_(sequences)).order_by(_E.created_at.desc(), _E.sequence.desc())


def picked(query: PageQuery) -> Select[int]:
    """Build the query of the sequences of the same executions."""
    if query.labels:
        sequences, created_at, sequence = _labelled(query.labels)
    else:
        sequences, created_at, sequence = select(_E.sequence), _E.created_at, _E.sequence
    return (
        sequences.where(*_filters(query), *_places(query, created_at, sequence))
        .order_by(created_at.desc(), sequence.desc())
        .limit(query.limit + 1)
    )


REACH = 50
"""How many executions with a label are passed over to see how far back in the list they reach."""


def reach(query: PageQuery) -> Select[Any]:
    """Build the query of how far back so many executions with each label reach, from the page's place on.

    Its row has a time for each label, null if there are fewer. The label that reaches farthest is the rarest there, and
    is to be the first: the list walks through its executions to find the others'.
    """
    times: list[Any] = [_reach(query, name, value).scalar_subquery() for name, value in query.labels.items()]
    return select(*times)


def _reach(query: PageQuery, name: str, value: str) -> Select[datetime]:
    at, sequence = labels.c.created_at, labels.c.sequence
    return (
        select(at)
        .where(labels.c.name == name, labels.c.value == value, *_places(query, at, sequence))
        .order_by(at.desc(), sequence.desc())
        .offset(REACH)
        .limit(1)
    )


def _labelled(wanted: Mapping[str, str]) -> tuple[Select[int], ColumnElement[datetime], ColumnElement[int]]:
    """Begin with what has these labels; the columns of the list's order are those of the first label's index."""
    first = labels.alias("first_label")
    sequences = select(_E.sequence).select_from(first.join(executions, _E.sequence == first.c.sequence))
    for number, (name, value) in enumerate(wanted.items()):
        if number == 0:
            sequences = sequences.where(first.c.name == name, first.c.value == value)
        else:
            # Looked up by its key for each execution, which an EXISTS would not be: Postgres makes a join of that, and
            # begins it with whichever label it likes.
            other = labels.alias(f"label_{number}")
            found = select(other.c.value).where(other.c.sequence == first.c.sequence, other.c.name == name)
            sequences = sequences.where(found.scalar_subquery() == value)
    return sequences, first.c.created_at, first.c.sequence


def _filters(query: PageQuery) -> Iterator[ColumnElement[bool]]:
    yield _E.deleted_at.is_(None)
    if query.workflow is not None:
        yield _E.workflow_name == query.workflow
    if query.owner is not None:
        yield _E.owner == query.owner
    if query.ids:
        ids = sorted(query.ids)
        yield _E.id == ids[0] if len(ids) == 1 else _E.id.in_(ids)
    statuses = sorted(status.value for status in query.statuses)
    if statuses:
        # One status is looked up in the index that is in the list's order; several are not.
        yield _E.status == statuses[0] if len(statuses) == 1 else _E.status.in_(statuses)


def _places(
    query: PageQuery, created_at: ColumnElement[Any], sequence: ColumnElement[Any]
) -> Iterator[ColumnElement[bool]]:
    if query.before is not None:
        at, number = query.before
        yield tuple_(created_at, sequence) < tuple_(
            literal(at, type_=_E.created_at.type), literal(number, type_=_E.sequence.type)
        )
    if query.since is not None:
        yield created_at >= query.since
    if query.until is not None:
        yield created_at < query.until
