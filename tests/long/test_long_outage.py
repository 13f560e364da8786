"""A database that is gone for a minute, under load."""

import itertools
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from sqlalchemy import make_url
from tests.databases import Postgres
from tests.long.processes import Submitter, eventually, free_port, noted, rows

SECONDS = float(os.environ.get("LONG_OUTAGE_SECONDS", "60"))
AROUND = float(os.environ.get("LONG_OUTAGE_AROUND", "10"))
"""How long there is load before the outage, and after it."""

AT_MOST = 10.0
"""Within which each request is answered, in seconds; who asks has not gone by then."""

BACK_SECONDS = 180.0
"""Within which everything has come to its end."""


@dataclass(frozen=True)
class Answer:
    """What a request was answered, and when it was sent and answered."""

    kind: str
    status: int
    retry_after: str | None
    sent: float
    came: float
    body: dict[str, Any]


@dataclass
class Load:
    """Clients that submit and ask.

    Parameters
    ----------
    url
        Of the API.
    """

    url: str
    answers: list[Answer] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """By key: the id of the execution."""
    refused: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(what,), daemon=True)
            for what in (self._submit, self._ask, self._list)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _keep(self, what: Callable[[httpx.Client, int], None]) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                for number in itertools.count():
                    what(client, number)
                    if self._over.wait(0.5):
                        return
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.errors.append(error)

    def _submit(self, client: httpx.Client, number: int) -> None:
        key = f"key-{number}"
        answer = self._request(client, "submit", "POST", "/v1/infer/writes", key)
        if answer.status == 200:
            self.accepted[key] = answer.body["execution_id"]
        else:
            self.refused.append(key)

    def _ask(self, client: httpx.Client, number: int) -> None:
        ids = list(self.accepted.values())
        if ids:
            self._request(client, "status", "GET", f"/v1/infer/writes/{ids[number % len(ids)]}/status")

    def _list(self, client: httpx.Client, _number: int) -> None:
        self._request(client, "list", "GET", "/v1/infer")

    def _request(self, client: httpx.Client, kind: str, method: str, path: str, key: str | None = None) -> Answer:
        more: dict[str, Any] = {} if key is None else {"json": {"parameters": {}}, "headers": {"Idempotency-Key": key}}
        sent = time.monotonic()
        got = client.request(method, path, **more)
        answer = Answer(kind, got.status_code, got.headers.get("Retry-After"), sent, time.monotonic(), got.json())
        self.answers.append(answer)
        return answer


@contextmanager
def gone(postgres: Postgres) -> Iterator[None]:
    """Stop a Postgres server for a while."""
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Let nobody else write to an SQLite database for a while."""
    connection = sqlite3.connect(str(make_url(url).database), isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_database_that_is_gone_fails_nothing(
    start: Callable[..., Any],
    settings: Callable[..., dict[str, Any]],
    database_url: str,
    postgres: Postgres,
    tmp_path: Path,
    figures: Callable[..., None],
):
    """Meanwhile the answers are 503 with Retry-After, or right; then everything comes to its end, started once."""
    port, is_postgres = free_port(), database_url.startswith("postgres")
    service = start("serve", ["serve", "--port", str(port), "--edge-port", str(free_port())], settings(database_url))
    eventually(lambda: "API " in service.log(), 180)
    with Load(f"http://127.0.0.1:{port}") as load:
        time.sleep(AROUND)
        with gone(postgres) if is_postgres else locked(database_url):
            began = time.monotonic()
            time.sleep(SECONDS)
            ended = time.monotonic()
        time.sleep(AROUND)
    assert not load.errors, load.errors
    meanwhile = [answer for answer in load.answers if answer.sent > began and answer.came < ended]
    check_answers(load, meanwhile, kinds={"submit", "status", "list"} if is_postgres else {"submit"})
    submitter = Submitter(load.url)
    for key in load.refused:
        load.accepted[key] = submitter.ask(
            "POST", "/v1/infer/writes", json={"parameters": {}}, headers={"Idempotency-Key": key}
        )["execution_id"]
    back = time.monotonic()
    for execution_id in load.accepted.values():
        ends = eventually(
            lambda execution_id=execution_id: is_final(submitter.status(execution_id)), BACK_SECONDS, "the end"
        )
        assert ends == "completed"
    last = time.monotonic() - back
    submitter.close()
    attempts = dict(rows(database_url, "SELECT id, attempt FROM executions"))
    assert attempts == noted(tmp_path / "starts")
    assert set(attempts) == set(load.accepted.values())
    figures(
        f"database gone on {database_url.partition(':')[0]}",
        seconds=round(ended - began),
        answers_meanwhile=dict(Counter(f"{answer.kind} {answer.status}" for answer in meanwhile)),
        slowest_answer=round(max(answer.came - answer.sent for answer in meanwhile), 1),
        completed=f"{len(attempts)} of {len(load.accepted)}",
        started_more_than_once=sum(number > 1 for number in attempts.values()),
        seconds_until_all_were_completed=round(last),
    )


def check_answers(load: Load, meanwhile: list[Answer], kinds: set[str]) -> None:
    """Hold that nothing was wrong, and that `kinds` of requests were refused while the database was gone."""
    for answer in load.answers:
        assert answer.status in (200, 503), f"{answer.kind}: {answer.status} {answer.body}"
        if answer.status == 503:
            assert answer.retry_after is not None
            assert int(answer.retry_after) > 0
        assert answer.came - answer.sent < AT_MOST, f"a {answer.kind} took {answer.came - answer.sent:.1f} seconds"
        assert answer.body.get("status") != "failed", answer.body
        assert all(listed["status"] != "failed" for listed in answer.body.get("executions", []))
    for kind in kinds:
        refused = [answer for answer in meanwhile if answer.kind == kind]
        assert refused
        assert all(answer.status == 503 for answer in refused), f"a {kind} was answered without a database"
    good = [answer for answer in meanwhile if answer.kind not in kinds]
    assert all(answer.status == 200 for answer in good), "what only reads had to wait for a writer"


def is_final(status: dict[str, Any]) -> str | None:
    """Return the status if it is an end."""
    return status["status"] if status["status"] in ("completed", "failed", "cancelled", "expired") else None
