"""Pages of the list of executions where there are a million: the first, the last, and any other.

    python benchmarks/pages.py [--records 1000000] [--pages 500] [--only sqlite] [--json]

A page has 50 executions and is asked of the records, as the API does it; each filter has a walk of its own. "Any" is
the page behind a place that is drawn; "last" is the one that the list ends with.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median

from harness.databases import KINDS, database
from sqlalchemy import Connection, text

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.records import PageQuery, Position, Records, SqlRecords, open_engine

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first execution was submitted; each further one came a second later."""

QUERIES = {
    "everything": PageQuery(),
    "one workflow": PageQuery(workflow="workflow_1"),
    "completed": PageQuery(statuses=frozenset({Status.COMPLETED})),
    "failed, 1 %": PageQuery(statuses=frozenset({Status.FAILED})),
    "workflow and failed": PageQuery(workflow="workflow_1", statuses=frozenset({Status.FAILED})),
    "failed or cancelled": PageQuery(statuses=frozenset({Status.FAILED, Status.CANCELLED})),
    "queued or running, 20 of all": PageQuery(statuses=frozenset({Status.QUEUED, Status.RUNNING})),
    "label, 10 %": PageQuery(labels={"project": "p3"}),
    "label, 0.1 %": PageQuery(labels={"run": "r7"}),
    "two labels": PageQuery(labels={"project": "p3", "run": "r103"}),
    "label and completed": PageQuery(labels={"project": "p3"}, statuses=frozenset({Status.COMPLETED})),
}

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :records) ",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, :records)) ",
}
MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', '2026-01-01', '+' || i || ' seconds')",
    "postgresql": "TIMESTAMPTZ '2026-01-01 00:00:00+00' + i * INTERVAL '1 second'",
}
SPARSE = "CASE WHEN i > :records - 20 THEN CASE i % 2 WHEN 0 THEN 'queued' ELSE 'running' END"
STATUS = f"{SPARSE} WHEN i % 100 = 7 THEN 'failed' WHEN i % 100 = 8 THEN 'cancelled' ELSE 'completed' END"
PARAMETERS = '{"members": 10, "region": {"north": 60.5, "south": 35.0}, "variables": ["t2m", "u10m", "v10m"]}'
LABELS = """'{"project": "p' || (i % 10) || '", "run": "r' || (i % 1000) || '"}'"""


@dataclass(frozen=True)
class Row:
    """What one filter's pages took, in milliseconds."""

    database: str
    filter: str
    first: float
    """The median of the first page."""
    last: float
    p50: float
    """Of any page."""
    p99: float


def fill(connection: Connection, records: int) -> None:
    """Record so many executions, most of them completed, with their publications and two labels each."""
    kind = connection.dialect.name
    numbers, moment = NUMBERS[kind], MOMENT[kind]
    json_type = "JSON" if kind == "postgresql" else "TEXT"
    false = "false" if kind == "postgresql" else "0"
    # The values are this file's own.
    statements = [
        f"""INSERT INTO executions (sequence, id, workflow_name, parameters, owner, status, attempt, created_at,
              started_at, ended_at, version, jobs, tries, place, partial_asked, pinned, labels, worker, site)
            {numbers} SELECT i, 'exec_' || i, 'workflow_' || (i % 4), CAST(:parameters AS {json_type}), 'anonymous',
              {STATUS}, 1, {moment}, {moment}, {moment}, 4, 2, 1, 1, {false}, {false},
              CAST({LABELS} AS {json_type}), 'host-0a1b2c3d-worker-0', '0a1b2c3d' FROM n""",  # noqa: S608
        f"""INSERT INTO labels (sequence, name, value, created_at)
            {numbers} SELECT i, 'project', 'p' || (i % 10), {moment} FROM n
            UNION ALL SELECT i, 'run', 'r' || (i % 1000), {moment} FROM n""",  # noqa: S608
        f"""INSERT INTO publications (execution_id, attempt, storage_type, prefix, files, bytes, manifest, verified,
              datasets, committed_at)
            SELECT id, 1, 's3', 'outputs/' || id, 3, 1000000, 'manifest.json.gz', 'crc64nvme',
              CAST('[]' AS {json_type}), ended_at FROM executions WHERE status = 'completed'""",  # noqa: S608
    ]
    values = {"records": records, "parameters": PARAMETERS}
    for statement in statements:
        wanted = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(text(statement), wanted)
    if kind == "postgresql":
        connection.execute(text("SELECT setval('executions_sequence_seq', :records)"), {"records": records})


def timed(records: Records, query: PageQuery) -> float:
    """Return how long a page takes, in milliseconds."""
    began = time.perf_counter()
    records.page(query)
    return 1000 * (time.perf_counter() - began)


def last_place(connection: Connection, query: PageQuery) -> Position | None:
    """Return the place behind which the last page begins, None if there is one page only."""
    conditions, values = ["TRUE"], {}
    if query.workflow is not None:
        conditions.append("workflow_name = :workflow")
        values["workflow"] = query.workflow
    if query.statuses:
        conditions.append(f"status IN ({', '.join(repr(str(status.value)) for status in query.statuses)})")
    for number, (name, value) in enumerate(query.labels.items()):
        conditions.append(
            f"sequence IN (SELECT sequence FROM labels WHERE name = :name_{number} AND value = :value_{number})"  # noqa: S608
        )
        values |= {f"name_{number}": name, f"value_{number}": value}
    statement = f"SELECT sequence FROM executions WHERE {' AND '.join(conditions)} ORDER BY sequence LIMIT 1 OFFSET 50"  # noqa: S608
    found = connection.execute(text(statement), values).scalar_one_or_none()
    return None if found is None else Position(BEGAN + timedelta(seconds=found), found)


def rows(kind: str, records: int, pages: int) -> Iterator[Row]:
    """Fill a database and measure."""
    with database(kind) as url:
        engine = open_engine(url)
        began = time.perf_counter()
        with engine.begin() as connection:
            fill(connection, records)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE" if kind == "postgres" else "ANALYZE")
            last = {name: last_place(connection, query) for name, query in QUERIES.items()}
        print(f"{kind}: filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        engine.dispose()
        store, drawn = SqlRecords(open_engine(url)), random.Random(1)
        for name, query in QUERIES.items():
            places = [drawn.randint(1, records) for _ in range(pages)]
            timed(store, query)
            several = sorted(
                timed(store, replace(query, before=Position(BEGAN + timedelta(seconds=place), place)))
                for place in places
            )
            first = median(timed(store, query) for _ in range(51))
            end = median(timed(store, replace(query, before=last[name])) for _ in range(51))
            yield Row(kind, name, first, end, median(several), several[int(0.99 * (pages - 1))])
        store.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print("| database | filter | first, ms | last, ms | any, p50, ms | any, p99, ms |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
    for kind in [options.only] if options.only else KINDS:
        for row in rows(kind, options.records, options.pages):
            cells = [row.database, row.filter, *(f"{each:.1f}" for each in (row.first, row.last, row.p50, row.p99))]
            print(json.dumps(asdict(row)) if options.json else f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
