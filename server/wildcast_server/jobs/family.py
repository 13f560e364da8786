"""Finding the processes that a runner's process has started, also those that have left its group."""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "WILDCAST_RUNNER"
"""The variable by which whatever a runner's process starts can be told from anything else: it is inherited."""

_PROC = Path("/proc")
_ROUNDS = 10
"""How often it is looked again: what is about to be killed may start another one."""


def members(group: int) -> Iterator[Path]:
    """Find the processes of a group, and their children that have left it, as a daemon or a new session does.

    They are directories of ``/proc``; where there is none, none are found.
    """
    children: dict[int, list[int]] = defaultdict(list)
    waiting = []
    for process in _processes():
        with suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything; behind it: state, parent, group (proc_pid_stat(5)).
            fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
            children[int(fields[1])].append(int(process.name))
            if int(fields[2]) == group:
                waiting.append(int(process.name))
    found: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += children[number]
            yield _PROC / str(number)


def kill_strays(mark: str, group: int) -> None:
    """Kill what carries this mark and has left the group, also what nobody is the parent of any more.

    Parameters
    ----------
    mark
        The value of `MARK`.
    group
        Left alone: it is killed as a whole.
    """
    wanted = f"{MARK}={mark}".encode()
    for _ in range(_ROUNDS):
        strays = [int(process.name) for process in _processes() if _carries(process, wanted)]
        killed = [number for number in strays if _kill(number, wanted, group)]
        if not killed:
            return


def _kill(number: int, wanted: bytes, group: int) -> bool:
    try:
        # Held by a descriptor, so that its number is no other one's when it is looked at again.
        descriptor = os.pidfd_open(number)
    except (AttributeError, OSError):
        return False
    try:
        if os.getpgid(number) == group or not _carries(_PROC / str(number), wanted):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _carries(process: Path, wanted: bytes) -> bool:
    try:
        return wanted in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        # Another user's, or gone.
        return False


def _processes() -> Iterator[Path]:
    with suppress(OSError):
        yield from (process for process in _PROC.iterdir() if process.name.isdecimal())
