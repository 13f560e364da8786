"""Three APIs behind nginx and four workers on one Postgres, of which one each is killed again and again."""

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.databases import Postgres
from tests.long.processes import Program, Submitter, eventually, free_port, noted, rows

SECONDS = float(os.environ.get("SYSTEM_NGINX_SECONDS", "15"))
EVERY = float(os.environ.get("SYSTEM_NGINX_EVERY", "3"))
"""Between two kills of one API and one worker, in seconds."""

APIS = 3
WORKERS = 4
CLIENTS = 4
PAUSE = 0.5
"""Between a client's requests, in seconds."""

CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-errors.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    upstream apis {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://apis;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 2s;
            # With its Idempotency-Key, a submission may be repeated whose answer was lost.
            proxy_next_upstream error timeout non_idempotent;
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, ports: list[int]) -> Iterator[str]:
    """Run nginx in front of these ports; give its URL."""
    port = free_port()
    servers = "\n".join(f"        server 127.0.0.1:{each} max_fails=1 fail_timeout=1s;" for each in ports)
    configuration = directory / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, servers=servers, port=port))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with (directory / "nginx.log").open("wb") as log:
        process = subprocess.Popen([program, "-p", str(directory), "-c", str(configuration)], stderr=log, stdout=log)
    try:
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, (directory / "nginx.log").read_text()
    finally:
        process.terminate()
        process.wait(30)


class Clients:
    """Clients that submit all the time; each request has a key, and is repeated until it is answered.

    Parameters
    ----------
    url
        Of nginx.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.accepted: dict[str, str] = {}
        """By key: the id of the execution."""
        self.asked_again = 0
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._submit, args=(number,), daemon=True) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Submit nothing more; the last answers are waited for."""
        self._over.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "a request was never answered"

    def _submit(self, client: int) -> None:
        submitter, number = Submitter(self._url), 0
        try:
            while not self._over.wait(PAUSE):
                key = f"client-{client}-{number}"
                self.accepted[key] = submitter.submit(key, seconds=0.3)
                number += 1
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.errors.append(error)
        finally:
            self.asked_again += submitter.asked_again
            submitter.close()


class Killer:
    """Kills one API and one worker at a time; who supervises a machine in earnest starts again what is gone."""

    def __init__(self, apis: list[Program], workers: list[Program]) -> None:
        self._apis, self._workers = apis, workers
        self._random = random.Random(1)
        self.killed: Counter[str] = Counter()

    def kill_one_of_each(self) -> None:
        """Kill an API, and a worker: the program with all it supervises, its worker alone, or the runner in that."""
        api = self._random.choice(self._apis)
        api.kill()
        self.killed["api"] += 1
        worker = self._random.choice(self._workers)
        members = worker.members()
        role = self._random.choice(sorted(members) or ["supervisor"])
        if role == "supervisor":
            worker.kill()
        else:
            with suppress(psutil.NoSuchProcess):
                members[role][0].kill()
        self.killed[role] += 1

    def start_again(self) -> None:
        """Start the programs that are gone."""
        for program in [*self._apis, *self._workers]:
            if not program.is_running:
                program.start()


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_no_request_is_lost_that_was_accepted(
    start: Callable[..., Program],
    settings: Callable[..., dict[str, Any]],
    postgres: Postgres,
    tmp_path: Path,
    figures: Callable[..., None],
):
    """Whichever of them dies, every accepted execution completes, and no request became two."""
    url, ports = postgres.empty(), [free_port() for _ in range(APIS)]
    values = settings(url, **{"workflows.max_attempts": 50, "edge.port": free_port()})
    apis = [start(f"api-{port}", ["api", "--port", str(port)], values) for port in ports]
    workers = [start(f"worker-{number}", ["worker"], values) for number in range(WORKERS)]
    for program, word in [*((api, "API ") for api in apis), *((worker, "worker up") for worker in workers)]:
        eventually(lambda program=program, word=word: word in program.log(), 180, f"the start of {program.name}")
    with nginx(tmp_path, ports) as front:
        killer, clients, began = Killer(apis, workers), Clients(front), time.monotonic()
        while time.monotonic() - began < SECONDS:
            killer.kill_one_of_each()
            time.sleep(EVERY / 2)
            killer.start_again()
            time.sleep(EVERY / 2)
            assert not clients.errors, clients.errors
        clients.end()
        assert not clients.errors, clients.errors
        submitted_for, accepted = time.monotonic() - began, sorted(clients.accepted.values())
        unfinished = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running', 'pending_results')"
        eventually(lambda: next(rows(url, unfinished))[0] == 0, 300, "the end of all executions")
        took = time.monotonic() - began
    recorded = {row[0]: row[1:] for row in rows(url, "SELECT id, status, attempt, place FROM executions")}
    assert sorted(recorded) == accepted, "what was accepted and what is recorded differ"
    wrong = {key: value for key, value in recorded.items() if value[0] != "completed"}
    assert not wrong, f"{len(wrong)} did not complete: {dict(list(wrong.items())[:5])}"
    begun = noted(tmp_path / "starts")
    # Whoever takes over from another machine, at another place, cannot know whether the workflow was called there.
    moved = {key for key, (_, _, place) in recorded.items() if place > 1}
    differing = {key: (attempt, begun[key]) for key, (_, attempt, _) in recorded.items() if attempt != begun[key]}
    wrong = {key: value for key, value in differing.items() if key not in moved or value[0] < value[1]}
    assert not wrong, f"attempts recorded, starts: {wrong}"
    figures(
        f"{APIS} APIs behind nginx, {WORKERS} workers, Postgres",
        seconds_under_load=round(submitted_for),
        kills=" ".join(f"{role} {number}" for role, number in sorted(killer.killed.items())),
        accepted=len(accepted),
        completed=sum(value[0] == "completed" for value in recorded.values()),
        attempts=sum(attempt for _, attempt, _ in recorded.values()),
        starts=sum(begun.values()),
        started_more_than_once=sum(number > 1 for number in begun.values()),
        requests_asked_again=clients.asked_again,
        seconds_until_the_last=round(took - submitted_for),
    )
