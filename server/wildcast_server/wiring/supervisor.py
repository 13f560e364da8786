"""Keeping child processes running: each is started, told when it is to end, and started again when it dies.

A supervisor runs no code of anybody else's, so it is what remains. It holds the listening sockets: while a server is
started again, connections wait for it and none is refused. Its children end when it does, see `lifeline`.
"""

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from wildcast_server.errors import WildcastServerError
from wildcast_server.wiring.fork_server import UNKNOWN, Forked, ForkServer, ForkServerError
from wildcast_server.wiring.hand_over import HandOver, Told, write_whole
from wildcast_server.wiring.lifeline import Lifeline
from wildcast_server.wiring.stopping import StopRequestedError

logger = logging.getLogger(__name__)

RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""How long to wait before a child that died is started again, by how often it has died shortly before."""

FIRST_STARTS = 3
"""How often a child is begun that somebody kills before it is up; one that ends by itself would only do so again."""

STEADY_SECONDS = 60.0
"""What lived as long had nothing to do with the deaths before."""

LOOK_SECONDS = 0.05
"""How often the children are looked at."""


@dataclass(frozen=True)
class Child:
    """A process to be kept running.

    Parameters
    ----------
    name
        For the log.
    command
        What is run; the number of the descriptor from which it reads its `HandOver` is added as the last argument.
    settings
        The whole tree, as `hand_over.plain` makes it; it holds secrets.
    arguments
        What else the child is told.
    sockets
        What it serves, by name.
    stop_seconds
        How long it may take to end when it is told to; then it is killed.
    role
        What a forked process does in its place, if there is who forks one.
    """

    name: str
    command: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    stop_seconds: float = 20.0
    role: str = ""


class Supervisor:
    """The children of one service, running from `__enter__` to `__exit__`.

    Parameters
    ----------
    children
        Which; their sockets are closed when the supervisor ends.
    stop
        Set where it is not to go on starting.
    forks
        Starts those that have a role, faster than a program starts; whoever made it closes it.
    """

    def __init__(
        self, children: Sequence[Child], stop: threading.Event | None = None, forks: ForkServer | None = None
    ) -> None:
        self._stop = stop or threading.Event()
        self._ending = threading.Event()
        self._lifeline = Lifeline()
        self._forks = forks if any(child.role for child in children) else None
        self._kept = [_Kept(child, self._lifeline.descriptor, self._forks) for child in children]
        self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)

    @property
    def name(self) -> str:
        """What keeps them running."""
        return self._thread.name

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each child as it is now, by name."""
        return {kept.name: kept.process.pid for kept in self._kept if kept.process is not None}

    @property
    def is_alive(self) -> bool:
        """Whether the children are looked after."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        """Start all; they are looked after once they are up."""
        try:
            self._await_forks()
            for kept in self._kept:
                kept.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._end()

    def _await_forks(self) -> None:
        if self._forks is None:
            return
        self._forks.begin()
        with suppress(ForkServerError):
            while not self._forks.is_ready():
                if self._stop.wait(LOOK_SECONDS):
                    raise StopRequestedError("told to stop before anything was begun")

    def wait_until_up(self) -> None:
        """Return when each has said that it is up.

        Raises
        ------
        WildcastServerError
            If one ends before that.
        StopRequestedError
            If `stop` was set meanwhile.
        """
        while not all([kept.is_up() for kept in self._kept]):  # noqa: C419 - each is to be looked at
            if self._stop.wait(LOOK_SECONDS):
                raise StopRequestedError("told to stop before everything was up")
        self._thread.start()

    def _keep(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            # A service manager may tell all processes at once to stop: then none is to be started again.
            for kept in () if self._stop.is_set() else self._kept:
                try:
                    kept.keep()
                except OSError:
                    # No process or descriptor is to be had now; there may be one later.
                    logger.exception("the %s could not be started again", kept.name)

    def _end(self) -> None:
        # First: nobody is to wait for a server that does not come back.
        for kept in self._kept:
            for bound in kept.child.sockets.values():
                bound.close()
        for kept in self._kept:
            kept.tell_to_end()
        began = time.monotonic()
        for kept in self._kept:
            kept.end(began)
        self._lifeline.close()


class _Kept:
    """One child, through all the processes that it has been."""

    def __init__(self, child: Child, lifeline: int, forks: ForkServer | None) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self._forks = forks
        self._lifeline = lifeline
        self._told: int | None = None
        self._said = b""
        self._started_at = 0.0
        self._deaths = 0
        self._start_again_at: float | None = None

    @property
    def name(self) -> str:
        return self.child.name

    def start(self) -> None:
        """Start a process."""
        handed_read, handed_write = os.pipe()
        self._told, told_write = os.pipe()
        os.set_blocking(self._told, False)
        sockets = {name: bound.fileno() for name, bound in self.child.sockets.items()}
        hand_over = HandOver(
            settings=dict(self.child.settings),
            arguments=dict(self.child.arguments),
            sockets=sockets,
            lifeline=self._lifeline,
            told=told_write,
        )
        try:
            self.process = self._process([handed_read, told_write, self._lifeline, *sockets.values()])
        except OSError:
            os.close(handed_write)
            self._close_told()
            raise
        finally:
            os.close(handed_read)
            os.close(told_write)
        self._said = b""
        self._started_at = time.monotonic()
        # Not an argument and not a variable: others could read those.
        with suppress(BrokenPipeError):
            write_whole(handed_write, msgspec.json.encode(hand_over))

    def _process(self, descriptors: Sequence[int]) -> subprocess.Popen[bytes] | Forked:
        """Begin a process in a session of its own: a terminal's Ctrl-C is for the supervisor, which ends the others."""
        if self._forks is not None and self.child.role:
            try:
                return self._forks.fork(self.child.role, descriptors)
            except OSError as error:
                logger.warning("the %s is started as a program: %s", self.name, error)
        return subprocess.Popen(  # noqa: S603 - our own program
            [*self.child.command, str(descriptors[0])],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,
        )

    def is_up(self) -> bool:
        """Whether it has said so.

        Raises
        ------
        WildcastServerError
            If it has said that it cannot be, or has ended by itself, or been killed `FIRST_STARTS` times.
        """
        if self._told is not None and not self._listen():
            return False
        said = self._what_it_said()
        if said is None and self._was_killed() and self._deaths + 1 < FIRST_STARTS:
            self._deaths += 1
            logger.error("the %s %s before it was up, and is started again", self.name, self._how())
            self.start()
            return False
        if said is None or said.error is not None:
            sentence = said.error if said is not None else None
            raise WildcastServerError(sentence or f"the {self.name} {self._how()} before it was up; the log says why")
        return True

    def keep(self) -> None:
        """Start it again if it has died, once it has waited for that."""
        if self._told is not None:
            self._listen()
        if self._start_again_at is not None:
            if time.monotonic() >= self._start_again_at:
                self._start_again_at = None
                self._begin_again()
        elif self.process is None or self.process.poll() is not None:
            self._say_that_it_died()

    def tell_to_end(self) -> None:
        """Ask it to."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self, began: float) -> None:
        """Wait for its end, so many seconds from when it was asked; then kill it."""
        if self.process is not None:
            try:
                self.process.wait(max(0.0, began + self.child.stop_seconds - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("the %s did not end within %g seconds: killed", self.name, self.child.stop_seconds)
                self.process.kill()
                self.process.wait()
        self._close_told()

    def _begin_again(self) -> None:
        try:
            self.start()
        except OSError:
            self._wait_for_the_next_start()
            raise

    def _say_that_it_died(self) -> None:
        if self._told is not None:
            self._listen()
        said = self._what_it_said()
        reason = f": {said.error}" if said is not None and said.error is not None else ""
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._deaths = 0
        self._wait_for_the_next_start()
        logger.error("the %s %s and is started again%s", self.name, self._how(), reason)

    def _wait_for_the_next_start(self) -> None:
        self._close_told()
        self._start_again_at = time.monotonic() + RESTART_SECONDS[min(self._deaths, len(RESTART_SECONDS) - 1)]
        self._deaths += 1

    def _listen(self) -> bool:
        """Take what it has said; whether that was all."""
        if self._told is None:
            return True
        with suppress(BlockingIOError):
            while said := os.read(self._told, 65536):
                self._said += said
            self._close_told()
            return True
        return False

    def _what_it_said(self) -> Told | None:
        try:
            return msgspec.json.decode(self._said, type=Told)
        except msgspec.DecodeError:
            return None

    def _was_killed(self) -> bool:
        if self.process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            # Its end of the pipe is closed a moment before its parent can see that it is gone.
            self.process.wait(1.0)
        # Where who forked it was killed too, nobody knows how it ended.
        return (self.process.returncode or 0) < 0 or self.process.returncode == UNKNOWN

    def _how(self) -> str:
        code = None if self.process is None else self.process.poll()
        if code is None:
            return "is gone"
        if code == UNKNOWN:
            return "ended, nobody knows how,"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    def _close_told(self) -> None:
        if self._told is not None:
            os.close(self._told)
            self._told = None
