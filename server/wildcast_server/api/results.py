"""Handing out the metadata of results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from wildcast.contract.wire import Pending, ResultMetadata
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.cursors import read_cursor, write_cursor
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.routes import INFER, readable
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Once, Threads, Together
from wildcast_server.domain.execution import Execution
from wildcast_server.usecases.partials import Partials
from wildcast_server.usecases.results import Description, Results, Rows

DESCRIPTION = """
Describes what a completed execution has published. With `storage_type` `s3`, `signed_url` opens every file: put a path
from `output_files`, without the execution's id before it, in the place of the `*`. The URL is signed for this answer
and ends at `expires_at`; ask again for a fresh one. With `server`, the files are at `…/results/{path}`.

`output_files` is complete, unless it is asked for in pages: `files_limit` is how many at most, and where
`next_files_cursor` is not null there are more. Send it as `files_cursor` for the next page.

With `partial=true` an execution that still runs shows what is stored and verified so far: `partial` is true then, and
`output_files` complete. The first who asks begins it, and is told to ask again. What is listed never changes, but for
zarr's metadata; what is not listed may still come, so a chunk that is missing says nothing about its values. If the
workflow rewrites what was listed, the result lies elsewhere in the end, and the URL of before ends with it.

Long answers are compressed, with zstd or gzip, for clients that take it (`Accept-Encoding`).
"""

POLL_AFTER = {"Retry-After": "In how many seconds to ask again."}

ANSWERS = (
    json_of(200, ResultMetadata, "The result.")
    | json_of(202, Pending, "The execution has not completed yet.", headers=POLL_AFTER)
    | errors_of(
        400,
        404,
        422,
        502,
        503,
        sentences={
            400: "the results of exec_1769560728_10ed9d3c have expired; submit the request again",
            422: "the request cannot be understood: files: Input should be 'all' or 'none'",
            502: "the publication outputs/exec_1769560728_10ed9d3c is not in s3://bucket any more",
        },
    )
)

Files = Annotated[
    Literal["all", "none"],
    Query(description="`none` leaves `output_files` empty: less to send, and no manifest to be read."),
]

PartialToo = Annotated[bool, Query(description="Whether to describe what there is of an execution that still runs.")]

MAX_FILES_LIMIT = 10_000

FilesLimit = Annotated[
    int | None, Query(ge=1, le=MAX_FILES_LIMIT, description="How many of `output_files` at most; without one, all.")
]
FilesCursor = Annotated[str | None, Query(description="`next_files_cursor` of the page before.")]
_Row = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Question(NamedTuple):
    execution: Execution
    listed: bool
    rows: Rows | None = None


class Descriptions:
    """The bodies of answers about results.

    What has to be read from a store waits in threads of its own, once for all who want the same; what is at hand is
    put together and signed in another one, many at a time.
    """

    def __init__(self, results: Results, signing: Threads, reading: Threads, partials: Partials | None = None) -> None:
        self._results = results
        self._partials = partials
        self._reading = reading
        self._reads: Once[tuple[str, int, Rows | None], bytes] = Once()
        self._at_hand: Together[_Question, bytes] = Together(self._describe_all, signing)

    async def of(self, execution: Execution, *, listed: bool, rows: Rows | None = None) -> bytes:
        """Return the JSON of the result's metadata; raises as `Results.describe`."""
        question = _Question(execution, listed, rows)
        at_hand = self._results.at_hand(execution)
        if at_hand or not listed:
            return await self._at_hand(question)
        wanted = execution.id, execution.attempt, rows
        return await self._reads(wanted, lambda: self._reading.run(self._describe, question))

    async def of_partial(self, execution: Execution, *, listed: bool) -> bytes:
        """Return the JSON of what there is so far; raises as `Partials.describe`, or as `of` once it has ended."""
        partials = self._partials
        if partials is None or not partials.has(execution):
            return await self.of(execution, listed=listed)
        description = await self._reading.run(lambda: partials.describe(execution, listed=listed))
        return description.to_json()

    def _describe(self, question: _Question) -> bytes:
        execution, listed, rows = question
        description = self._results.describe(execution, listed=listed, rows=rows)
        return _with_cursor(description, execution, rows).to_json()

    def _describe_all(self, questions: Sequence[_Question]) -> list[bytes | Exception]:
        return [self._describe_or_error(question) for question in questions]

    def _describe_or_error(self, question: _Question) -> bytes | Exception:
        try:
            return self._describe(question)
        except Exception as error:  # noqa: BLE001 - it is one question's, and not the others'
            return error


def _with_cursor(description: Description, execution: Execution, rows: Rows | None) -> Description:
    if rows is None or not description.rows_left:
        return description
    following = write_cursor(_files_of(execution), rows.start + rows.limit)
    return replace(description, metadata=msgspec.structs.replace(description.metadata, next_files_cursor=following))


def _files_of(execution: Execution) -> list[object]:
    """Return what tells one publication's files from another's."""
    return [execution.id, execution.attempt]


def _rows(execution: Execution, limit: int | None, cursor: str | None) -> Rows | None:
    if limit is None and cursor is None:
        return None
    start = 0 if cursor is None else read_cursor("files_cursor", cursor, _files_of(execution), _Row)
    return Rows(start, MAX_FILES_LIMIT if limit is None else limit)


def result_routes(standings: Standings, descriptions: Descriptions) -> APIRouter:
    """Build the route that describes a result."""
    router = APIRouter(prefix=INFER, tags=["results"])

    @readable(
        router,
        "/{workflow_name}/{execution_id}/results",
        summary="The metadata of a result, with a fresh signed URL",
        description=DESCRIPTION,
        responses=ANSWERS,
    )
    async def metadata(
        workflow_name: str,
        execution_id: str,
        files: Files = "all",
        files_limit: FilesLimit = None,
        files_cursor: FilesCursor = None,
        partial: PartialToo = False,
    ) -> Response:
        execution = (await standings.of(workflow_name, execution_id)).execution
        if partial and not execution.status.is_final:
            return answer(await descriptions.of_partial(execution, listed=files == "all"), headers=FRESH)
        rows = _rows(execution, files_limit, files_cursor)
        return answer(await descriptions.of(execution, listed=files == "all", rows=rows), headers=FRESH)

    return router
