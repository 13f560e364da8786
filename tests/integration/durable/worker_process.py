"""A worker as a process of its own: ``python worker_process.py settings.json [queue …]``."""

import json
import sys
from pathlib import Path

from wildcast_server.settings import load_settings
from wildcast_server.wiring.logs import set_up_logging
from wildcast_server.wiring.stopping import stop_requests
from wildcast_server.wiring.worker import QUEUES, run_worker


def main() -> None:
    path = Path(sys.argv[1])
    settings = load_settings(json.loads(path.read_text()), environ={}, cwd=path.parent).settings
    set_up_logging(settings.log)
    with stop_requests() as stop:
        run_worker(settings, stop, lambda: None, queues=sys.argv[2:] or QUEUES)


if __name__ == "__main__":
    main()
