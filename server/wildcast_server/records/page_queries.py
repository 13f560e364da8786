"""The query of a page of executions.

A page is found by its place in an index that has the executions in the list's order, never by counting: so the last
one costs what the first one does. The filters that pick an index are the workflow, the status and one label.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, select, tuple_

from wildcast_server.records.queries import EXECUTION
from wildcast_server.records.tables import executions, labels
from wildcast_server.records.values import PageQuery

_E = executions.c


def page(query: PageQuery) -> Select[Any]:
    """Build the query of a page, and of one execution more, which tells whether there is another page."""
    own_labels = list(query.labels.items())
    if not own_labels:
        picked = select(_E.sequence).where(*_places(query, _E.created_at, _E.sequence))
        order = (_E.created_at, _E.sequence)
    else:
        # From the label's index, which is in the list's order as well.
        (name, value), *others = own_labels
        first = labels.alias("first_label")
        picked = (
            select(_E.sequence)
            .select_from(first.join(executions, _E.sequence == first.c.sequence))
            .where(first.c.name == name, first.c.value == value, *_places(query, first.c.created_at, first.c.sequence))
        )
        for number, (other_name, other_value) in enumerate(others):
            other = labels.alias(f"label_{number}")
            has_it = and_(
                other.c.sequence == first.c.sequence, other.c.name == other_name, other.c.value == other_value
            )
            picked = picked.where(select(literal(1)).select_from(other).where(has_it).exists())
        order = (first.c.created_at, first.c.sequence)
    picked = picked.where(*_filters(query)).order_by(*(column.desc() for column in order)).limit(query.limit + 1)
    return EXECUTION.where(_E.sequence.in_(picked.scalar_subquery())).order_by(_E.created_at.desc(), _E.sequence.desc())


def _filters(query: PageQuery) -> Iterator[ColumnElement[bool]]:
    yield _E.deleted_at.is_(None)
    if query.workflow is not None:
        yield _E.workflow_name == query.workflow
    if query.owner is not None:
        yield _E.owner == query.owner
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
