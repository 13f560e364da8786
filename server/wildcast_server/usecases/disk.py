"""The file system that outputs are on: whether other machines may have it too, and writing it out."""

import ctypes
import errno
import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

_OF_ONE_MACHINE = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
"""File systems that no two machines mount at a time."""


def may_be_shared(directory: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether other machines may have this file system: any that is not known to belong to one machine.

    Parameters
    ----------
    directory
        In it.
    mounts
        What is mounted, as `proc_pid_mountinfo(5)` lays it out.
    """
    try:
        device = directory.stat().st_dev
        lines = mounts.read_text().splitlines()
    except OSError:
        return True
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.partition(" - ")[2].split()[0] for line in lines if line.split()[2] == number}
    return not kinds or not kinds <= _OF_ONE_MACHINE


def write_out(directory: Path) -> None:
    """Return when all that was written to this file system is on the disk, by whomever (syncfs(2)).

    Raises
    ------
    OSError
        If something could not be written, or the system has no such call.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(directory))
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
