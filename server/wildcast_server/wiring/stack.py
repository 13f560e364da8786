"""The embedded stack: API, worker and edge in one process, the workflows in a child of it."""

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from wildcast_server.api import create_api
from wildcast_server.errors import SettingsError, WildcastServerError
from wildcast_server.settings import Settings
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore
from wildcast_server.wiring.edge import build_edge, has_own_edge
from wildcast_server.wiring.lock import sole_service
from wildcast_server.wiring.publishing import (
    announce,
    build_key_pair,
    build_signer,
    build_store,
    probe_store,
    warn_of_unreachable_urls,
)
from wildcast_server.wiring.service import Service, publication_places
from wildcast_server.wiring.serving import ServerThread, allow_many_connections, bind, url_of


class Running:
    """Servers that run while the context is open.

    Parameters
    ----------
    settings
        The whole tree.
    stop
        Set where it is not to go on starting.
    """

    def __init__(self, settings: Settings, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._stop = stop
        self._open = ExitStack()
        self._servers: list[ServerThread] = []
        self.edge_url: str | None = None
        """What signed URLs begin with, if they lead to an edge of this stack."""

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

    def _build_edge(self, opening: ExitStack, store: ObjectStore) -> tuple[Signer, ServerThread]:
        """Take the edge's address; return the signer of URLs that lead there, and the server to be started."""
        edge = self._settings.edge
        bound = opening.enter_context(bind(edge.host, edge.port, "edge"))
        self.edge_url = edge.public_url or url_of(bound)
        warn_of_unreachable_urls(self._settings, self.edge_url)
        key_pair = build_key_pair(self._settings)
        app = build_edge(self._settings, store, key_pair, self.edge_url)
        return build_signer(self._settings, key_pair, self.edge_url), ServerThread("edge", app, bound)


class Stack(Running):
    """API, worker and, where results are read through it, our own edge."""

    api_url: str
    """Where this machine reaches the API."""

    def _build(self, opening: ExitStack) -> None:
        bound = opening.enter_context(bind(self._settings.api.host, self._settings.api.port, "api"))
        self.api_url = url_of(bound)
        opening.enter_context(sole_service(self._settings.data_dir))
        store, signer, edge = self._object_storage(opening)
        service = Service(self._settings, publication_places(self._settings, store, signer), self._stop)
        opening.callback(service.stop)
        api = self._settings.api
        app = create_api(service.use_cases, max_body_bytes=api.max_body_bytes, public_url=api.public_url)
        # Nothing is served before everything could be built.
        if edge is not None:
            self._serve(opening, edge)
        service.start()
        self._serve(opening, ServerThread("API", app, bound))

    def _object_storage(self, opening: ExitStack) -> tuple[ObjectStore | None, Signer | None, ServerThread | None]:
        """Build what results are published with, as far as they are: store, signer, and our own edge's server."""
        storage = self._settings.object_storage
        if not storage.enabled:
            return None, None, None
        announce(storage)
        probe_store(self._settings)
        store = build_store(self._settings)
        if has_own_edge(self._settings):
            return store, *self._build_edge(opening, store)
        if not storage.has_cloudfront:
            raise SettingsError(
                "object storage is on, but nothing serves its signed URLs: "
                "set object_storage.cloudfront_domain (and its key), or edge.enabled"
            )
        return store, build_signer(self._settings, build_key_pair(self._settings), edge_url=""), None


class EdgeAlone(Running):
    """Our own edge and nothing else."""

    def _build(self, opening: ExitStack) -> None:
        _, edge = self._build_edge(opening, build_store(self._settings))
        self._serve(opening, edge)
