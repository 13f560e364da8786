"""Listing executions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints
from starlette.responses import Response

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Listing
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.cursors import read_cursor, write_cursor
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.executions import NAME, VALUE
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.threads import Threads
from wildcast_server.records import PageQuery, Position
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import status_of

MAX_LIMIT = 200
DEFAULT_LIMIT = 50

DESCRIPTION = """
Lists executions as their status would be answered, the newest first. With filters, those that meet all of them:
`id` and `status` may be given several times, and any of them is meant; `label` too, and each of them is. So with `id`
alone an execution is found whose workflow is not known.

Where `next_cursor` is not null there are more: send it as `cursor`, with the same filters. A page costs the same
however far back it is, and executions that are submitted meanwhile change nothing in the pages to come.
"""

ANSWERS = json_of(200, Listing, "A page of executions.") | errors_of(
    422, 503, sentences={422: "the cursor belongs to another list: begin without one where anything else is asked for"}
)

NO_WORKFLOW = errors_of(404, sentences={404: "there is no workflow 'x'; there is shallow_water"})


class _Place(msgspec.Struct, array_like=True):
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    sequence: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is too far away") from None


ExecutionId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$")]
"""Any text that every database takes; one that is no id finds nothing."""

Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Filters(BaseModel):
    """The query of a list."""

    id: list[ExecutionId] = Field(
        default=[],
        max_length=MAX_LIMIT,
        description="Any of these executions; may be repeated.",
        examples=[["exec_1769560728_10ed9d3c"]],
    )
    status: list[ExecutionStatus] = Field(default=[], description="Any of these; may be repeated.")
    label: list[str] = Field(
        default=[], description="`name=value`; may be repeated: each of these.", examples=[["project=storms"]]
    )
    since: Moment | None = Field(
        default=None, description="Submitted then or later: ISO 8601 with an offset, such as `Z`."
    )
    until: Moment | None = Field(default=None, description="Submitted before then.")
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


def listing_routes(listing: ListExecutions, threads: Threads) -> APIRouter:
    """Build the routes that list executions; what they ask waits in `threads`."""
    router = APIRouter(prefix=INFER, tags=["executions"])

    async def listed(filters: Filters, workflow_name: str | None) -> Response:
        query = PageQuery(
            workflow=workflow_name,
            ids=frozenset(filters.id),
            statuses=frozenset(filters.status),
            labels=_labels(filters.label),
            since=filters.since,
            until=filters.until,
            limit=filters.limit,
        )
        page = await threads.run(listing, replace(query, before=_position(query, filters.cursor)))
        following = None if page.next is None else write_cursor(_filters(query), _Place(*page.next))
        return answer(Listing(executions=tuple(map(status_of, page.standings)), next_cursor=following), headers=FRESH)

    @readable(router, "", summary="List the executions of all workflows", description=DESCRIPTION, responses=ANSWERS)
    async def of_all(filters: Annotated[Filters, Query()]) -> Response:
        return await listed(filters, None)

    @readable(
        router,
        "/{workflow_name}",
        summary="List the executions of a workflow",
        description=DESCRIPTION,
        responses=ANSWERS | NO_WORKFLOW,
    )
    async def of_one(workflow_name: str, filters: Annotated[Filters, Query()]) -> Response:
        return await listed(filters, workflow_name)

    return router


def _labels(pairs: Sequence[str]) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise _no_label(f"{name!r} has no value: write it as label=name=value")
        if re.fullmatch(NAME, name) is None or re.fullmatch(VALUE, value) is None:
            raise _no_label(f"{name!r} cannot be one: no execution can have it")
        if labels.setdefault(name, value) != value:
            raise _no_label(f"{name!r} cannot have two values at once")
    return labels


def _no_label(why: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"the label {why}")


def _filters(query: PageQuery) -> list[Any]:
    """Return what tells one list from another; how long its pages are does not."""
    several = sorted(query.ids), sorted(query.statuses), sorted(query.labels.items())
    return [query.workflow, *several, query.since, query.until, query.owner]


def _position(query: PageQuery, cursor: str | None) -> Position | None:
    if cursor is None:
        return None
    place = read_cursor("cursor", cursor, _filters(query), _Place)
    try:
        return Position(_in_utc(place.created_at), place.sequence)
    except ValueError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"the cursor's time cannot be: {error}") from None
