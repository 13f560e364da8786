"""A request to stop reaches the main thread, whichever thread the kernel gives the signal to."""

import subprocess
import sys

import pytest

WAITING = """
import signal, threading
from wildcast_server.wiring.stopping import stop_requests

idle = threading.Event()
other = threading.Thread(target=idle.wait, daemon=True)
other.start()
with stop_requests() as stop:
    threading.Timer(0.3, signal.pthread_kill, (other.ident, signal.{name})).start()
    stop.wait()
    print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_was_given_stops_a_main_thread_that_waits(name):
    command = [sys.executable, "-c", WAITING.format(name=name)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.stdout == "stopped\n", done.stderr
