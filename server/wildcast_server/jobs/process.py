"""One runner process as its parent sees it: started, talked to, watched, and killed with all that it started."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, cast

from wildcast_server.jobs.family import MARK, kill_strays
from wildcast_server.jobs.output import OutputPump
from wildcast_server.jobs.protocol import Channel, Load, Probe

EXIT_SECONDS = 5.0
"""How long a process may take to end by itself when it is asked to."""

OUTPUT_SECONDS = 2.0
"""How long to wait for the last output of a process that is dead."""


class RunnerProcess:
    """A child in a session of its own, with a process group that holds whatever the workflows start.

    So a terminal's Ctrl-C reaches the worker alone. The group is killed when the child ends, however it ends, and when
    this process does: see `guard`. What the workflows have started and has left the group is killed with it.

    Parameters
    ----------
    first
        What the child hosts, or probes. It travels over the socket: an argument or a variable could be read by others.
    logger
        Gets what the workflows print.

    Raises
    ------
    OSError
        If no process can be started.
    """

    def __init__(self, first: Load | Probe, logger: logging.Logger) -> None:
        self.execution_id = "runner"
        self.is_ready = False
        """Whether it has said that it is; set by who listens to it."""
        self._mark = secrets.token_hex(8)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _spawn(theirs.fileno(), self._mark)
            except OSError:
                ours.close()
                raise
        self.channel = Channel(ours)
        self.messages = self.channel.from_process()
        self.output = OutputPump(cast("IO[bytes]", self._process.stdout), logger, lambda: self.execution_id)
        self._lock = threading.Lock()
        self._dead = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="runner-watch", daemon=True)
        self._watcher.start()
        self.channel.send(first)

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's and its session's too."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the child lives."""
        return not self._dead.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until child and group are gone; whether they are."""
        return self._dead.wait(timeout)

    def kill(self) -> None:
        """Kill child and group, and wait until they are gone."""
        self._kill_group()
        self._dead.wait()

    def close(self) -> None:
        """Give back what a dead child leaves."""
        self.output.join(OUTPUT_SECONDS)
        self.channel.close()

    def describe_death(self) -> str:
        """Say how the child ended, and what it printed last; if it has only stopped listening, it is killed."""
        if not self.wait(EXIT_SECONDS):
            self.kill()
        self.output.join(OUTPUT_SECONDS)
        lines = self.output.last_lines()
        printed = "; the last it printed:\n" + "\n".join(lines) if lines else "; it printed nothing"
        return f"{_how(self._process.returncode)}{printed}"

    def _watch(self) -> None:
        self._process.wait()
        # The guard keeps the group alive, and so its number from being another's, until this line.
        self._kill_group()
        self._dead.set()
        # Something that left the group may still hold the other end open.
        self.channel.end()

    def _kill_group(self) -> None:
        with self._lock:
            if not self.is_alive:
                return
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            # Behind the group, which might have started more of them.
            kill_strays(self._mark, self.pid)


def _spawn(descriptor: int, mark: str) -> subprocess.Popen[bytes]:
    # -P: a file in the working directory must not stand in for a module.
    command = [sys.executable, "-P", "-m", "wildcast_server.jobs.runner_process", str(descriptor)]
    return subprocess.Popen(  # noqa: S603 - our own module, run by our own interpreter
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[descriptor],
        env={**os.environ, MARK: mark},
        start_new_session=True,
    )


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hint = " (the kernel does that when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
