"""A worker of the adapter alone: ``python dbos_worker.py URL EXECUTOR LOG QUEUE …``; its jobs say what they do."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from wildcast_server.jobs import Steps
from wildcast_server.jobs.dbos_engine import DbosQueue, DbosWorker

URL, EXECUTOR, LOG, *QUEUES = sys.argv[1:]


def note(*words: object) -> None:
    descriptor = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{EXECUTOR} {' '.join(map(str, words))}\n".encode())
    os.close(descriptor)


async def compute(job_id: str, execution_id: str, steps: Steps) -> None:
    """Do what the execution's id says: ``quick``, ``fails``, ``waits`` for a file, or ``sleeps``."""
    stop, go = threading.Event(), Path(f"{LOG}.go")

    def first() -> dict[str, int]:
        note("first", job_id)
        return {"value": 1}

    def second() -> str:
        note("second", job_id)
        while execution_id.startswith("waits") and not go.exists() and not stop.is_set():
            time.sleep(0.02)
        return "stopped" if stop.is_set() else "ended"

    def interrupt() -> None:
        note("interrupted", job_id)
        stop.set()

    one = await steps.once("first", first)
    if execution_id == "fails":
        raise ValueError("it fails")
    two = await steps.interruptible("second", second, interrupt)
    await steps.once("third", lambda: note("third", job_id, one["value"], two))


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    queue = DbosQueue(URL)
    queue.declare(QUEUES)
    worker = DbosWorker(URL, EXECUTOR, QUEUES)
    worker.start({"compute": compute})
    note("up")
    stop, looks = threading.Event(), 0
    signal.signal(signal.SIGTERM, lambda *_: worker.pause())
    signal.signal(signal.SIGUSR1, lambda *_: stop.set())
    while not stop.wait(0.2):
        looks += 1
        if looks % 5 == 0:
            try:
                note("strayed", *sorted(worker.strayed()))
            except Exception as error:  # noqa: BLE001 - the database may be away
                note("away", type(error).__name__)
    os._exit(0)


if __name__ == "__main__":
    main()
