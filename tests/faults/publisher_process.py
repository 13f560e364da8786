"""Publishes directories as `wildcast-server publish` does, each in a process of its own that may be killed.

    python tests/faults/publisher_process.py SETTINGS_JSON

The imports are paid once: what the first line tells to be ready forks for each trial. A trial is a line of JSON on
stdin, ``{"directory": …, "name": …, "failpoint": "upload.part:2" or null, "kill_after": seconds or null}``; its end is
a line on stdout, ``{"status": "done" | "killed" | "failed", "seconds": …, "error": …}``.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - paid once, as said above
import obstore  # noqa: F401 - the same

from wildcast_server.failpoints import VARIABLE
from wildcast_server.settings import Settings, load_settings
from wildcast_server.wiring.publishing import publish_alone

_ENOUGH = 100
"""Seconds after which a trial that does not end is killed, and failed."""


def _publish(settings: Settings, trial: dict[str, Any], errors: int) -> None:
    """Publish, in the child; never return."""
    status = 1
    try:
        if trial["failpoint"]:
            os.environ[VARIABLE] = trial["failpoint"]
        publish_alone(settings, Path(trial["directory"]), trial["name"])
        status = 0
    except Exception as error:  # noqa: BLE001 - the parent judges
        os.write(errors, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(status)


def _run(settings: Settings, trial: dict[str, Any]) -> dict[str, Any]:
    """Run one trial, in the parent."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _publish(settings, trial, writing)
    os.close(writing)
    handle = os.pidfd_open(child)
    patience = _ENOUGH if trial["kill_after"] is None else trial["kill_after"]
    if not select.select([handle], [], [], patience)[0]:
        os.kill(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    seconds = time.monotonic() - began
    os.close(handle)
    with os.fdopen(reading, "rb") as pipe:
        error = pipe.read().decode()
    status = "killed" if os.WIFSIGNALED(code) else "done" if os.WEXITSTATUS(code) == 0 else "failed"
    if trial["kill_after"] is None and status == "killed" and seconds >= _ENOUGH:
        status, error = "failed", "it did not end"
    return {"status": status, "seconds": seconds, "error": error}


def main() -> None:
    """Run trials until stdin ends."""
    settings = load_settings(json.loads(sys.argv[1]), environ=os.environ).settings
    print("ready", flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        print(json.dumps(_run(settings, json.loads(line))), flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main()
