"""Asking the parts that the service needs whether they can be used."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from wildcast_server.api.threads import Threads
from wildcast_server.errors import ServiceUnavailableError, WildcastServerError

logger = logging.getLogger(__name__)

Check = Callable[[], None]
"""Returns if a part can be used; blocks, and raises a `WildcastServerError` that says why not."""

KEEP_SECONDS = 3.0
"""How long a verdict is given again: a load balancer that asks often costs the store nothing."""

PATIENCE_SECONDS = 3.0
"""A part that has not answered by then cannot be used now."""


class Readiness:
    """Whether all parts can be used, asked at most once at a time.

    Parameters
    ----------
    checks
        By the part's name.
    threads
        As many as there are checks, so that one that hangs holds up no other.
    keep, patience
        In seconds.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        threads: Threads,
        *,
        keep: float = KEEP_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._checks = checks
        self._threads = threads
        self._keep = keep
        self._patience = patience
        self._asking: dict[str, asyncio.Task[str | None]] = {}
        self._asked_at = 0.0

    async def problem(self) -> str | None:
        """Return None if all can be used, else one sentence about what cannot."""
        loop = asyncio.get_running_loop()
        if self._may_ask(loop.time()):
            self._asked_at = loop.time()
            self._asking = {name: loop.create_task(self._ask(name, check)) for name, check in self._checks.items()}
        if self._asking:
            await asyncio.wait(self._asking.values(), timeout=self._patience)
        answers = (self._answer(name, task) for name, task in self._asking.items())
        return "; ".join(filter(None, answers)) or None

    def _may_ask(self, now: float) -> bool:
        # Not while one of them still hangs: every question would take another thread.
        if any(not task.done() for task in self._asking.values()):
            return False
        return not self._asking or now - self._asked_at >= self._keep

    def _answer(self, name: str, task: "asyncio.Task[str | None]") -> str | None:
        if not task.done():
            return f"the {name} has not answered within {self._patience:g} seconds"
        return task.result()

    async def _ask(self, name: str, check: Check) -> str | None:
        try:
            await self._threads.run(check)
        except ServiceUnavailableError as error:
            logger.warning("the %s: %s", name, error)
            return error.for_clients
        except WildcastServerError as error:
            return str(error)
        except Exception as error:
            logger.exception("the check of the %s failed", name)
            return f"the {name} met an unexpected {type(error).__name__}; the server's log says more"
        return None
