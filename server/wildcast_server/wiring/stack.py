"""The parts of the service put together: one alone, all supervised, or most of them in this process."""

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from wildcast_server.errors import SettingsError, WildcastServerError
from wildcast_server.settings import Settings
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.queues import COMPUTE, PUBLISH
from wildcast_server.wiring.child import fork_server, server_child, worker_child
from wildcast_server.wiring.edge import build_edge, has_own_edge
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.hand_over import plain
from wildcast_server.wiring.lock import sole_service
from wildcast_server.wiring.publishing import (
    announce,
    build_key_pair,
    build_signer,
    build_store,
    probe_store,
    warn_of_unreachable_urls,
)
from wildcast_server.wiring.serving import ServerThread, allow_many_connections, bind, url_of
from wildcast_server.wiring.supervisor import Child, Supervisor


class Running:
    """Servers and processes that run while the context is open.

    Parameters
    ----------
    settings
        The whole tree.
    stop
        Set where it is not to go on starting.
    sockets
        Those that listen already, by the section of the settings that they belong to.
    forks
        Starts processes; None makes one for them, where that is possible.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event | None = None,
        *,
        sockets: Mapping[str, socket.socket] | None = None,
        forks: ForkServer | None = None,
    ) -> None:
        self._settings = settings
        self._forks = forks
        self._stop = stop
        self._sockets = sockets or {}
        self._open = ExitStack()
        self._servers: list[ServerThread | Supervisor] = []
        self.edge_url: str | None = None
        """What signed URLs begin with, if they lead to an edge of our own."""

    def __enter__(self) -> Self:
        allow_many_connections()
        with ExitStack() as opening:
            self._build(opening)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def wait(self, stop: threading.Event) -> None:
        """Return when `stop` is set.

        Raises
        ------
        WildcastServerError
            If one of the servers ends by itself.
        """
        while not stop.wait(1.0):
            for server in self._servers:
                if not server.is_alive:
                    raise WildcastServerError(f"the {server.name} server ended by itself; the log says why")

    def _build(self, opening: ExitStack) -> None:
        raise NotImplementedError

    def _serve(self, opening: ExitStack, server: ServerThread) -> None:
        self._servers.append(opening.enter_context(server))

    def _supervisor(self, opening: ExitStack, children: Sequence[Child]) -> Supervisor:
        forks = self._forks
        if forks is None and (forks := fork_server(children)) is not None:
            opening.callback(forks.close)
        return opening.enter_context(Supervisor(children, self._stop, forks))

    def _keep(self, supervisor: Supervisor) -> None:
        supervisor.wait_until_up()
        self._servers.append(supervisor)

    def _bind(self, opening: ExitStack, section: str) -> socket.socket:
        """Take the address of the API or the edge, unless it was handed over."""
        where = self._settings.api if section == "api" else self._settings.edge
        return opening.enter_context(self._sockets.get(section) or bind(where.host, where.port, section))

    def _name_edge(self, bound: socket.socket) -> str:
        """Say what begins the URLs that lead to our own edge."""
        self.edge_url = self._settings.edge.public_url or url_of(bound)
        return self.edge_url

    def _edge(self, bound: socket.socket, store: ObjectStore) -> ServerThread:
        app = build_edge(self._settings, store, build_key_pair(self._settings), self._name_edge(bound))
        return ServerThread("edge", app, bound)


class EdgeAlone(Running):
    """Our own edge and nothing else."""

    def _build(self, opening: ExitStack) -> None:
        bound = self._bind(opening, "edge")
        server = self._edge(bound, build_store(self._settings))
        if "edge" not in self._sockets:
            # Else whoever handed it over also has an API, which says so.
            warn_of_unreachable_urls(self._settings, self.edge_url or "")
        self._serve(opening, server)


class ApiAlone(Running):
    """The API and nothing else.

    Parameters
    ----------
    edge_url
        What the signed URLs begin with that lead to our own edge; None if the settings say it.
    """

    api_url: str
    """Where this machine reaches the API."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event | None = None,
        *,
        sockets: Mapping[str, socket.socket] | None = None,
        edge_url: str | None = None,
    ) -> None:
        super().__init__(settings, stop, sockets=sockets)
        self.edge_url = edge_url

    def _build(self, opening: ExitStack) -> None:
        bound = self._bind(opening, "api")
        self.api_url = url_of(bound)
        if has_own_edge(self._settings) and self.edge_url is None:
            self.edge_url = self._configured_edge_url()
        store, signer = self._object_storage()
        self._serve(opening, self._api(opening, bound, store, signer))

    def _configured_edge_url(self) -> str:
        edge = self._settings.edge
        if edge.port == 0 and edge.public_url is None:
            raise SettingsError("an edge on any free port has no address to sign for: set edge.port or edge.public_url")
        return edge.url

    def _object_storage(self) -> tuple[ObjectStore | None, Signer | None]:
        """Build what results are read and signed with, as far as they are."""
        settings = self._settings
        check_readable(settings)
        if not settings.object_storage.enabled:
            return None, None
        announce(settings.object_storage)
        probe_store(settings)
        if self.edge_url is not None:
            warn_of_unreachable_urls(settings, self.edge_url)
        signer = build_signer(settings, build_key_pair(settings), edge_url=self.edge_url or "")
        return build_store(settings), signer

    def _api(
        self, opening: ExitStack, bound: socket.socket, store: ObjectStore | None, signer: Signer | None
    ) -> ServerThread:
        from wildcast_server.api import create_api
        from wildcast_server.wiring.api import build_api_parts

        parts = build_api_parts(self._settings, store, signer, self._stop)
        opening.callback(parts.close)
        api = self._settings.api
        app = create_api(parts.use_cases, max_body_bytes=api.max_body_bytes, public_url=api.public_url)
        return ServerThread("API", app, bound)


class Stack(ApiAlone):
    """API and, where results are read through it, our own edge in this process; the workers are children of it.

    Parameters
    ----------
    with_workers
        Whether there are any.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event | None = None,
        *,
        with_workers: bool = True,
        forks: ForkServer | None = None,
    ) -> None:
        super().__init__(settings, stop)
        self._forks = forks
        self._with_workers = with_workers

    def _build(self, opening: ExitStack) -> None:
        bound = self._bind(opening, "api")
        self.api_url = url_of(bound)
        opening.enter_context(sole_service(self._settings.data_dir))
        check_readable(self._settings)
        edge = None
        if has_own_edge(self._settings):
            edge = self._edge(self._bind(opening, "edge"), build_store(self._settings))
        # First: they take longest to start, and do so meanwhile.
        workers = worker_children(self._settings) if self._with_workers else []
        supervisor = self._supervisor(opening, workers)
        store, signer = self._object_storage()
        api = self._api(opening, bound, store, signer)
        # Nothing is served before everything could be built.
        if edge is not None:
            self._serve(opening, edge)
        self._keep(supervisor)
        self._serve(opening, api)


class Embedded(Running):
    """The whole service on one machine: API, edge and workers, each a process that is started again when it dies."""

    api_url: str
    """Where this machine reaches the API."""

    def _build(self, opening: ExitStack) -> None:
        settings = self._settings
        bound = self._bind(opening, "api")
        self.api_url = url_of(bound)
        opening.enter_context(sole_service(settings.data_dir))
        check_readable(settings)
        handed = plain(settings)
        children = []
        if has_own_edge(settings):
            at_edge = self._bind(opening, "edge")
            self._name_edge(at_edge)
            children.append(server_child("edge", handed, {"edge": at_edge}))
        children.append(server_child("api", handed, {"api": bound}, edge_url=self.edge_url))
        self._keep(self._supervisor(opening, [*children, *worker_children(settings)]))


class Workers(Running):
    """Workers and nothing else.

    Parameters
    ----------
    queues
        What they work on.
    slots
        How many of them there are, each with one job of each queue at a time; None for as many as the settings say.
    """

    def __init__(
        self, settings: Settings, stop: threading.Event | None = None, *, queues: Sequence[str], slots: int | None
    ) -> None:
        super().__init__(settings, stop)
        self._queues = queues
        self._slots = slots

    def _build(self, opening: ExitStack) -> None:
        children = worker_children(self._settings, self._queues, self._slots)
        if not children:
            raise SettingsError("there is no slot to work in: set workers.compute_slots or workers.publish_slots")
        self._keep(self._supervisor(opening, children))


def worker_children(
    settings: Settings, queues: Sequence[str] = (COMPUTE, PUBLISH), slots: int | None = None
) -> list[Child]:
    """Describe the workers of one machine: so many that each queue has its slots, each with one of each queue."""
    configured = {COMPUTE: settings.workers.compute_slots, PUBLISH: settings.workers.publish_slots}
    wanted = {queue: configured[queue] if slots is None else slots for queue in queues}
    handed = plain(settings)
    most = max(wanted.values())
    return [
        worker_child(
            settings,
            handed,
            "worker" if most == 1 else f"worker {slot}",
            queues=[queue for queue in queues if slot <= wanted[queue]],
        )
        for slot in range(1, most + 1)
    ]


def check_readable(settings: Settings) -> None:
    """Hold that what is published can be read.

    Raises
    ------
    SettingsError
        If object storage is on, and nothing serves its signed URLs.
    """
    storage = settings.object_storage
    if storage.enabled and not storage.has_cloudfront and not settings.edge.enabled:
        raise SettingsError(
            "object storage is on, but nothing serves its signed URLs: "
            "set object_storage.cloudfront_domain (and its key), or edge.enabled"
        )
