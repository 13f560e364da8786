"""A request to stop reaches the main thread, whichever thread the kernel gives the signal to."""

import signal
import subprocess
import sys
import threading

import pytest

from wildcast_server.wiring.stopping import stop_requests

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

LOOKING = """
import os, signal
from wildcast_server.wiring.stopping import stop_requests

with stop_requests() as stop:
    with stop._cond:  # as `wait` does for moments
        os.kill(os.getpid(), signal.{name})
    stop.wait()
    print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_was_given_stops_a_main_thread_that_waits(name):
    assert output_of(WAITING.format(name=name)) == "stopped\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_middle_of_a_look_at_the_event_stops_it(name):
    assert output_of(LOOKING.format(name=name)) == "stopped\n"


def test_a_second_interrupt_ends_the_process_at_once():
    done = run(
        "import os, signal, time\nfrom wildcast_server.wiring.stopping import stop_requests\n"
        "with stop_requests() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    stop.wait()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(15)\n"
    )
    assert done.returncode == -signal.SIGINT


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests() as stop:
        assert not stop.is_set()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert not [thread for thread in threading.enumerate() if thread.name == "signals"]


def output_of(code: str) -> str:
    done = run(code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
