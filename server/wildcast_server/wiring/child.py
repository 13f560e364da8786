"""A child of a supervisor: ``python -m wildcast_server.wiring.child ROLE DESCRIPTOR``.

It runs one part of the service with the settings that it is handed, on sockets that its parent holds, and ends when
that does.
"""

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wildcast_server.errors import WildcastServerError
from wildcast_server.settings import Settings
from wildcast_server.wiring import lifeline
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.hand_over import HandOver, Told, receive, settings_of, tell
from wildcast_server.wiring.logs import set_up_logging
from wildcast_server.wiring.stopping import StopRequestedError, stop_requests
from wildcast_server.wiring.supervisor import Child

logger = logging.getLogger(__name__)

ORPHANED = 1
"""The exit code of a child whose parent is gone."""

STOP_SECONDS = 20.0
"""How long a server may take to end; uvicorn gives its connections half of that."""

WORKER_MARGIN_SECONDS = 10.0
"""How much longer than it gives its jobs a worker may take to end."""


def server_child(
    role: str, settings: Mapping[str, Any], sockets: Mapping[str, socket.socket], **arguments: Any
) -> Child:
    """Describe a server, ``api`` or ``edge``, on a bound socket of that name."""
    return Child(
        {"api": "API"}.get(role, role),
        _command(role),
        settings,
        arguments,
        sockets,
        stop_seconds=STOP_SECONDS,
        role=role,
    )


def worker_child(settings: Settings, plain: Mapping[str, Any], name: str, **arguments: Any) -> Child:
    """Describe a worker."""
    drains = max(settings.workers.drain_seconds, settings.workers.publish_drain_seconds)
    return Child(name, _command("worker"), plain, arguments, stop_seconds=drains + WORKER_MARGIN_SECONDS, role="worker")


def main() -> None:
    """Run a child."""
    role, descriptor = sys.argv[1:]
    sys.exit(run(role, receive(int(descriptor))))


def run(role: str, handed: HandOver) -> int:
    """Do what a role does with what was handed over; return the exit code."""
    lifeline.watch(handed.lifeline, lambda: os._exit(ORPHANED))
    up = _Up(handed)
    try:
        settings = settings_of(handed)
        set_up_logging(settings.log)
        code = ROLES[role](settings, handed, up)
    except StopRequestedError:
        code = 0
    except WildcastServerError as error:
        if up.is_said:
            # The parent hears one thing, and has heard it.
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
        else:
            tell(handed, Told(error=str(error)))
        code = 1
    logging.shutdown()
    return code


def _command(role: str) -> tuple[str, ...]:
    # -P: a file in the working directory must not stand in for a module.
    return (sys.executable, "-P", "-m", __name__, role)


def _sockets(handed: HandOver) -> dict[str, socket.socket]:
    return {name: socket.socket(fileno=number) for name, number in handed.sockets.items()}


def _run_api(settings: Settings, handed: HandOver, up: "_Up") -> int:
    from wildcast_server.wiring.stack import ApiAlone

    with stop_requests() as stop:
        running = ApiAlone(settings, stop, sockets=_sockets(handed), **handed.arguments)
        with running:
            up()
            running.wait(stop)
    return 0


def _run_edge(settings: Settings, handed: HandOver, up: "_Up") -> int:
    from wildcast_server.wiring.stack import EdgeAlone

    with stop_requests() as stop, EdgeAlone(settings, stop, sockets=_sockets(handed)) as running:
        up()
        running.wait(stop)
    return 0


def _run_worker(settings: Settings, handed: HandOver, up: "_Up") -> int:
    from wildcast_server.wiring.worker import run_worker

    with stop_requests() as stop:
        return run_worker(settings, stop, up, **handed.arguments)


class _Up:
    """Says, once, that a child is up."""

    def __init__(self, handed: HandOver) -> None:
        self._handed = handed
        self.is_said = False

    def __call__(self) -> None:
        self.is_said = True
        tell(self._handed, Told())
        # What is there now stays, so the garbage collector need not look through it ever again.
        gc.collect()
        gc.freeze()


MODULES: Mapping[str, Sequence[str]] = {
    "api": ("wildcast_server.wiring.stack", "wildcast_server.wiring.api", "uvicorn", "uvloop"),
    "edge": ("wildcast_server.wiring.stack", "uvicorn", "uvloop"),
    "worker": ("wildcast_server.wiring.worker",),
}
"""What each role imports; the rest is imported when it is first used."""


def fork_server(children: Iterable[Child]) -> ForkServer | None:
    """Return what forks these children; None where this system cannot."""
    modules = dict.fromkeys(module for child in children for module in MODULES.get(child.role, ()))
    return ForkServer([__name__, *modules]) if modules and ForkServer.is_possible() else None


ROLES: Mapping[str, Callable[[Settings, HandOver, _Up], int]] = {
    "api": _run_api,
    "edge": _run_edge,
    "worker": _run_worker,
}


if __name__ == "__main__":
    main()
