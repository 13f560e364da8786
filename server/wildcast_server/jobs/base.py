"""The port of job engines: what takes executions and calls for their work, one slot at a time.

An engine knows an execution by its id alone; everything else is in the records. So a handler may end by enqueueing
what comes next, and what is enqueued survives in whatever form the engine keeps ids.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

Handler = Callable[[str], None]
"""Does the work of the execution of that id. It blocks, and is called from a thread of the engine."""


class JobEngine(ABC):
    """Runs a handler for every execution that is enqueued."""

    @abstractmethod
    def start(self, handler: Handler) -> None:
        """Begin to take work. What a handler raises is logged and ends nothing else."""

    @abstractmethod
    def enqueue(self, execution_id: str) -> None:
        """Add an execution behind those that wait. Before `start` it waits for that.

        Raises
        ------
        ServiceUnavailableError
            If the engine is stopped or cannot be reached.
        """

    @abstractmethod
    def check(self) -> None:
        """Return if what is enqueued now will be worked on; raises `ServiceUnavailableError` if not."""

    @abstractmethod
    def stop(self, grace_seconds: float) -> None:
        """Take no new work, wait up to `grace_seconds` for what is being done, and return. Idempotent."""
