"""Webhooks are signed, repeated until they are heard, and called only where that is allowed."""

import hashlib
import hmac
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest
from pydantic import SecretStr

from wildcast.contract.status import ExecutionStatus
from wildcast_server.errors import ForbiddenAddressError
from wildcast_server.http.outgoing import Outgoing
from wildcast_server.settings import WebhookSettings
from wildcast_server.usecases.webhooks import (
    AT_ONCE,
    LEASE_SECONDS,
    LONGEST_PAUSE,
    CheckWebhook,
    Deliver,
    body_of,
    outgoing_of,
    pause_after,
    signature,
)

S = ExecutionStatus
SECRET = "canary-whsec-1"
TOKEN = "canary-token"


@dataclass
class Receiver:
    """Answers with the statuses it is given, the last one again and again, and keeps what came."""

    statuses: list[int] = field(default_factory=lambda: [200])
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    def answer(self) -> int:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/{TOKEN}?key={TOKEN}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.came.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(made.answer())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def deliver_with(world) -> Callable[..., Deliver]:
    """Put the use case together, with settings of its own."""

    def build(**options: object) -> Deliver:
        settings = WebhookSettings(**{"secret": SECRET, "allowed_networks": ["127.0.0.0/8"], **options})
        return Deliver(records=world.records, settings=settings, outgoing=outgoing_of(settings), clock=world.clock)

    return build


@pytest.fixture
def deliver(deliver_with) -> Deliver:
    """The use case, for which loopback is allowed."""
    return deliver_with()


def log_of(world, execution):
    (row,) = world.records.deliveries(execution.id)
    return row


def test_the_signature_is_of_the_time_and_the_body() -> None:
    """A fixed vector, computed with `openssl dgst -sha256 -hmac`."""
    signed = signature(SecretStr("whsec-test"), '{"event":"execution.completed"}', 1_795_190_400)

    assert signed == "t=1795190400,v1=1ea3ff9205d9788fe4cac3ea59127d2a625ed50916a68965b3668d89d84c6d47"


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_every_end_is_told(world, deliver, receiver, status: ExecutionStatus) -> None:
    """Once, as JSON that says what has ended and how."""
    execution = world.ended(status, webhook=receiver.url, labels={"team": "hail"})

    assert deliver() == 1
    assert deliver() == 0

    [(headers, body)] = receiver.came
    told = json.loads(body)
    assert (told["event"], told["status"]) == (f"execution.{status}", status)
    assert (told["execution_id"], told["workflow_name"]) == (execution.id, "simulate")
    assert told["labels"] == {"team": "hail"}
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Wildcast-Event"] == status
    assert re.fullmatch(rf"{execution.id}\.\d+", headers["X-Wildcast-Delivery"])


def test_a_completed_execution_tells_what_is_published(world, receiver) -> None:
    """Where it lies and how much it is; no URL, which would be a secret until it ends."""
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    told = json.loads(body_of(execution))

    assert told["storage_type"] == "s3"
    assert told["publication"]["prefix"] == f"outputs/{execution.id}"
    assert told["publication"]["files"] == 3


def test_a_receiver_can_verify_it(world, deliver, receiver) -> None:
    """From the header, the body as it came, and the shared secret."""
    world.ended(S.COMPLETED, webhook=receiver.url)
    deliver()

    [(headers, body)] = receiver.came
    parts = dict(part.split("=", 1) for part in headers["X-Wildcast-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert int(parts["t"]) == int(world.clock().timestamp())


def test_without_a_webhook_nothing_is_told(world, deliver) -> None:
    """Nobody wanted to know."""
    execution = world.ended(S.COMPLETED)

    assert deliver() == 0
    assert world.records.deliveries(execution.id) == []


@pytest.mark.parametrize("status", [500, 503, 404, 429, 301])
def test_it_is_tried_again_until_it_is_heard(world, deliver, receiver, status: int) -> None:
    """After ten seconds, then after a minute; each try signed anew, under the same delivery id."""
    receiver.statuses = [status, status, 204]
    execution = world.ended(S.COMPLETED, webhook=receiver.url)

    assert deliver() == 0
    row = log_of(world, execution)
    assert (row.tries, row.last_status, row.delivered_at) == (1, status, None)
    assert f"answered {status}" in row.last_error
    world.clock.pass_by(9)
    assert deliver() == 0
    assert len(receiver.came) == 1

    world.clock.pass_by(1)
    assert deliver() == 0
    world.clock.pass_by(60)
    assert deliver() == 1

    row = log_of(world, execution)
    assert (row.tries, row.last_status, row.delivered_at, row.next_try_at) == (3, 204, world.clock(), None)
    assert len({headers["X-Wildcast-Delivery"] for headers, _ in receiver.came}) == 1
    assert len({headers["X-Wildcast-Signature"] for headers, _ in receiver.came}) == 3


def test_it_is_given_up_after_so_many_tries(world, deliver_with, receiver, caplog) -> None:
    """The log of deliveries says how it went."""
    receiver.statuses = [500]
    execution = world.ended(S.FAILED, webhook=receiver.url)
    deliver = deliver_with(attempts=3)
    for _ in range(10):
        deliver()
        world.clock.pass_by(LONGEST_PAUSE.total_seconds())

    row = log_of(world, execution)
    assert (row.tries, row.next_try_at, row.delivered_at) == (3, None, None)
    assert len(receiver.came) == 3
    assert "given up after try 3" in caplog.text


def test_a_receiver_that_is_gone_is_not_asked_again(world, deliver, receiver) -> None:
    """410 says so itself."""
    receiver.statuses = [410]
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    deliver()

    assert log_of(world, execution).next_try_at is None


def test_an_address_that_may_not_be_called_is_not_called(world, deliver_with, receiver) -> None:
    """It is refused at the delivery as well, and not tried again."""
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    deliver_with(allowed_networks=[])()

    row = log_of(world, execution)
    assert (receiver.came, row.next_try_at) == ([], None)
    assert "not on the public internet" in row.last_error


def test_a_receiver_that_is_away_is_tried_again(world, deliver) -> None:
    """As one that answers with an error is; there is no status then."""
    execution = world.ended(S.COMPLETED, webhook="http://127.0.0.9:9/hook")

    assert deliver() == 0

    row = log_of(world, execution)
    assert (row.tries, row.last_status) == (1, None)
    assert row.next_try_at == world.clock() + timedelta(seconds=10)


def test_a_kill_in_the_middle_is_told_again(world, deliver, receiver) -> None:
    """Nothing is heard of the claim, so it is due again: a receiver may be told twice, and never not at all."""
    world.ended(S.COMPLETED, webhook=receiver.url)
    assert len(world.records.due_deliveries(world.clock(), lease_seconds=LEASE_SECONDS, limit=AT_ONCE)) == 1
    assert deliver() == 0

    world.clock.pass_by(LEASE_SECONDS + 60)
    assert deliver() == 1


def test_one_whose_tries_never_end_is_given_up(world, deliver_with, receiver) -> None:
    """Whatever it is that ends its workers, it does so a bounded number of times."""
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    for _ in range(2):
        assert len(world.records.due_deliveries(world.clock(), lease_seconds=0, limit=AT_ONCE)) == 1

    assert deliver_with(attempts=2)() == 0

    assert receiver.came == []
    assert log_of(world, execution).next_try_at is None


def test_one_that_does_not_answer_holds_up_no_other(world, deliver_with, receiver) -> None:
    """Several are told at the same time."""
    settings = deliver_with().settings
    together = threading.Barrier(AT_ONCE, timeout=10)
    for _ in range(AT_ONCE):
        world.ended(S.FAILED, webhook=receiver.url)

    def resolve(_host: str, _port: int) -> list[str]:
        together.wait()
        return ["127.0.0.1"]

    outgoing = Outgoing([ip_network("127.0.0.0/8")], resolve=resolve)
    deliver = Deliver(records=world.records, settings=settings, outgoing=outgoing, clock=world.clock)
    assert deliver() == AT_ONCE


def test_neither_secret_nor_url_is_shown(world, deliver, receiver, caplog) -> None:
    """Not in a log, a repr, or what is recorded of a failure."""
    caplog.set_level(logging.DEBUG, logger="wildcast_server")
    receiver.statuses = [500, 200]
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    deliver()
    world.clock.pass_by(10)
    deliver()
    (claimed,) = receiver.came[:1]
    shown = [caplog.text, repr(deliver), repr(execution), repr(log_of(world, execution))]
    shown += [repr(effect) for effect in world.ending(execution, S.FAILED)[1].deliveries]

    assert len(receiver.came) == 2
    assert "v1=" in claimed[0]["X-Wildcast-Signature"]
    assert not [text for text in shown if SECRET in text or TOKEN in text or "v1=" in text]


def test_a_server_without_a_secret_takes_no_webhooks() -> None:
    """It could not sign what it sends."""
    with pytest.raises(ForbiddenAddressError, match=r"webhooks\.secret"):
        CheckWebhook(WebhookSettings())("https://example.org/")


def test_a_webhook_is_checked_when_it_is_submitted() -> None:
    """What could never be called is refused at once; what the operator allows is taken."""
    CheckWebhook(WebhookSettings(secret=SECRET))("https://example.org/hook")
    CheckWebhook(WebhookSettings(secret=SECRET, allowed_networks=["10.0.0.0/8"]))("http://10.1.2.3/hook")
    with pytest.raises(ForbiddenAddressError):
        CheckWebhook(WebhookSettings(secret=SECRET))("http://10.1.2.3/hook")


def test_a_secret_that_was_taken_away_sends_nothing(world, deliver_with, receiver) -> None:
    """What was submitted before waits for it."""
    execution = world.ended(S.COMPLETED, webhook=receiver.url)
    deliver_with(secret=None)()

    row = log_of(world, execution)
    assert receiver.came == []
    assert "webhooks.secret" in row.last_error
    assert row.next_try_at is not None


def test_pauses_grow_up_to_six_hours() -> None:
    """Ten seconds, a minute, six minutes, and so on: six tries are spread over some hours."""
    assert [pause_after(tries).total_seconds() for tries in range(1, 6)] == [10, 60, 360, 2160, 12_960]
    assert pause_after(100) == LONGEST_PAUSE
