"""Ending with one's parent, however it ends: a pipe of which only the parent holds the end that is written to.

A parent-death signal (``prctl(PR_SET_PDEATHSIG)``) would come too early, when only the thread that forked ends, and
exists on Linux alone.
"""

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Lifeline:
    """A parent's hold on its children, from when it is made until it is closed or the process ends."""

    def __init__(self) -> None:
        self._watched, self._held = os.pipe()

    @property
    def descriptor(self) -> int:
        """The end for the children: pass it on, and `watch` it there."""
        return self._watched

    def close(self) -> None:
        """Let go of the children that live."""
        os.close(self._held)
        os.close(self._watched)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def watch(descriptor: int, on_end: Callable[[], object]) -> None:
    """Call `on_end`, from a thread, when the parent that holds the other end of `descriptor` is gone."""

    def wait() -> None:
        # Nothing is ever written, so reading ends when the last holder has gone.
        while os.read(descriptor, 1):
            pass
        on_end()

    # Of nobody else's children: what is started from here on must not outlive us by our parent's lifeline.
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's
    threading.Thread(target=wait, name="lifeline", daemon=True).start()
