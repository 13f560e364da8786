"""Making sure that a runner's process group does not outlive the worker, not even one that is killed with -9.

The guard is a tiny process in that group which waits for the worker's end of the socket pair to close, and then kills
the group. A parent-death signal (``prctl(PR_SET_PDEATHSIG)``) would reach the child alone, leave what the workflows
started running, come too early when only the thread that forked ends, and exist on Linux alone; a watching thread would
wait for the interpreter's lock, which a workflow's C code may hold.
"""

import os
import select
import signal
from contextlib import suppress

from wildcast_server.jobs.family import MARK, kill_strays

_GIVE_UP = 1


def start_guard(descriptor: int) -> None:
    """Fork the guard of this process's group. Call it before there are threads.

    It is forked twice, so that a workflow that waits for its children does not wait for it.

    Parameters
    ----------
    descriptor
        The end of a socket pair whose other end the worker alone holds.

    Raises
    ------
    OSError
        If it cannot be forked.
    """
    middle = os.fork()
    if middle:
        _, status = os.waitpid(middle, 0)
        if status:
            raise OSError("the guard of the runner's process could not be started")
        return
    # From here on no code but this may run, whatever happens.
    failed = 1
    try:
        if os.fork() == 0:
            _guard(descriptor)
        failed = 0
    finally:
        os._exit(failed)


def kill_own_group() -> None:
    """Kill this process and everything in its group, if the group is its own, and what has left that."""
    if os.getpgrp() == os.getsid(0):
        if mark := os.environ.get(MARK):
            kill_strays(mark, os.getpgrp())
        os.killpg(0, signal.SIGKILL)
    os._exit(_GIVE_UP)


def _guard(descriptor: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _leave_standard_streams()
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # no events but those that cannot be left out: hang-up and error
    with suppress(InterruptedError):
        hang_up.poll()
    kill_own_group()


def _leave_standard_streams() -> None:
    # An open end of the output pipe would keep the worker waiting for output.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
