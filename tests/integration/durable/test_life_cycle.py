"""What follows an execution's end, done by real workers: webhooks, expiry, removals."""

import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.integration.durable.conftest import until

from wildcast.contract.naming import new_execution_id
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.records import Effects
from wildcast_server.usecases.queues import compute_job
from wildcast_server.wiring.cleanup import cleanup
from wildcast_server.wiring.outputs import ending_of

pytestmark = pytest.mark.long

SECRET = "canary-whsec-2"


class Receiver:
    """Keeps what came."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append((dict(self.headers), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/canary-path"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def submit(site, **fields) -> str:
    execution = Execution(id=new_execution_id(), jobs=1, workflow_name="computes", parameters={}, **fields)
    enqueue = site.jobs.enqueue
    return site.records.insert(execution, within=lambda now, at: enqueue(compute_job(now), at)).execution.id


def test_workers_tell_webhooks_and_let_results_expire(site_of, receiver) -> None:
    """The end is told within seconds, signed; then the result goes when its time has come, and the secret nowhere."""
    site = site_of(**{"webhooks.secret": SECRET, "webhooks.allowed_networks": ["127.0.0.0/8"]})
    worker = site.start()
    execution_id = submit(site, webhook=receiver.url, retention_seconds=1)
    kept = submit(site)

    until(lambda: receiver.came, "a delivery")
    [(headers, body)] = receiver.came
    at, signed = (part.partition("=")[2] for part in headers["X-Wildcast-Signature"].split(","))
    assert signed == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["execution_id"], told["event"]) == (execution_id, "execution.completed")
    assert told["publication"]["prefix"] == f"outputs/{execution_id}"
    until(lambda: site.records.deliveries(execution_id)[0].delivered_at, "the note of it")

    site.ended(kept)
    until(lambda: site.records.get(execution_id).status is Status.EXPIRED, "the expiry")
    until(lambda: site.objects(execution_id) == set(), "the removal")
    # By hand as well, while the worker does the same.
    cleanup(site.settings, dry_run=False, say=lambda _line: None)
    assert len(site.objects(kept)) == 2
    assert worker.poll() is None
    assert SECRET not in site.log
    assert "canary-path" not in site.log


@pytest.mark.long
def test_a_removal_that_a_kill_interrupts_is_gone_on_with(site_of) -> None:
    """By the next worker, once nothing was heard of it; what others have put below the prefix stays."""
    site = site_of()
    first = site.start()
    execution_id = submit(site)
    execution = site.ended(execution_id)
    first.send_signal(signal.SIGKILL)
    first.wait()
    prefix = site.root / "store" / execution.published.publication.prefix
    (prefix / "staged.txt").write_text("foreign")
    removals = ending_of(site.settings).removals(execution, "deleted")
    site.records.mark(execution_id, expected=Status.COMPLETED, deleted_at=utc_now(), effects=Effects(removals=removals))
    # Half done, and killed: claimed for a second by who is no more.
    claimed = site.records.due_removals(utc_now(), site=execution.site, lease_seconds=1, limit=10)
    (prefix / "0.txt").unlink()
    assert len(claimed) == 2

    site.start()

    until(lambda: not site.records.open_removals(site=execution.site, limit=10), "the removals")
    assert {path.name for path in prefix.rglob("*") if path.is_file()} == {"staged.txt"}
