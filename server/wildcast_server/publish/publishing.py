"""One publication while it is made: begun, uploaded, verified, committed, in this order and no other."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from wildcast.contract.manifest import Manifest
from wildcast.contract.naming import join_key
from wildcast.contract.wire import Upload
from wildcast_server.errors import (
    NetworkError,
    PublicationError,
    StoreError,
    VerificationFailedError,
)
from wildcast_server.failpoints import reached
from wildcast_server.publish.clearing import delete, some_of
from wildcast_server.publish.ledgers import remove
from wildcast_server.publish.live import LiveUploads
from wildcast_server.publish.manifests import commit
from wildcast_server.publish.means import Means, Wanted
from wildcast_server.publish.opening import Opening
from wildcast_server.publish.output import Output, prepare
from wildcast_server.publish.partial import About, Partial
from wildcast_server.publish.published import Published
from wildcast_server.publish.resume import find_held, sweep
from wildcast_server.publish.streamed import check_place, find_streamed
from wildcast_server.publish.tally import Overall, Sent
from wildcast_server.publish.verify import verify
from wildcast_server.transfer.files import LocalFile, ProgressCallback, StoredFile
from wildcast_server.transfer.pool import for_each

_log = logging.getLogger(__name__)

_SIDE_BY_SIDE = 4
"""Threads that look at the store while the directory is scanned."""

_ABANDON_SECONDS = 10.0
"""How long to wait for a store from which something is to be removed."""


class Publishing:
    """A publication that has begun; `Publisher.begin` makes it, and `finish`, `abandon` or `close` ends it.

    Where it goes is looked up in the background from the beginning on. If the store fails meanwhile, the next who needs
    the answer asks again.
    """

    def __init__(self, means: Means, wanted: Wanted) -> None:
        self._means = means
        self._wanted = wanted
        self._sent = Sent(means.observe() if means.observe is not None else None)
        self._about = About(store=means.store, execution=wanted.name, attempt=wanted.attempt, clock=means.clock)
        self._threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="publish")
        self._opening = Opening(means, wanted, self._about, self._threads)
        self._partial = Partial(
            means.store, means.gentle, wanted.directory, self._about, lambda: (self.prefix, self._opening.acknowledged)
        )

    @property
    def prefix(self) -> str:
        """Where the objects go; waits for the store if that is not known yet, and raises `StoreError`."""
        return self._opening.prefix

    @property
    def streamed(self) -> Path | None:
        """The ledger of what this attempt's workflow writes into the store itself; None if no ledger is kept."""
        return self._opening.streamed

    def is_open(self, seconds: float) -> bool:
        """Wait so long for the store at most; whether `prefix` is known."""
        return self._opening.is_open(seconds)

    def live(
        self, group: Callable[[], int | None], on_progress: ProgressCallback | None = None
    ) -> AbstractContextManager[object]:
        """Upload what has settled in the directory, gently, for as long as the context is open.

        What fails is logged and tried again, here or when the publication is finished.

        Parameters
        ----------
        group
            Returns the process group of those who write, or None if there is none now.
        on_progress
            Told what was uploaded, of what was seen so far.
        """
        return LiveUploads(
            self._wanted.directory, self._upload_live, self._is_uploaded, self._partial, group, on_progress
        )

    def share(self) -> None:
        """List what is stored, as soon as there is any of it and as long as `live` is open; any thread may call it."""
        self._partial.ask()

    def finish(self, on_progress: ProgressCallback | None = None) -> Published:
        """Publish what the directory holds now and what was streamed, as `Publisher.publish` does, and raise alike."""
        try:
            # Meanwhile the store is looked at.
            streamed = find_streamed(self._wanted.directory, self.streamed, self._means.store)
            output = prepare(self._wanted.directory, streamed)
            return self._finish(output, on_progress)
        except Exception as error:
            self._tidy(error)
            raise
        finally:
            self.close()

    def abandon(self) -> None:
        """Remove what was written into the store, as far as it lets us; nothing is published."""
        try:
            # Whoever has not found out where to write has written nothing.
            if self.is_open(_ABANDON_SECONDS):
                self._opening.clear(self.prefix, self._opening.acknowledged)
        except StoreError as error:
            _log.warning("%s: what was uploaded before the end stays in the store: %s", self._wanted.name, error)
        finally:
            self.close()

    def close(self) -> None:
        """End without publishing or removing anything: whoever begins again goes on with it. Idempotent."""
        self._sent.tell()
        self._opening.close()
        self._threads.shutdown(wait=False)

    def _stored(self, local: LocalFile, stored: StoredFile) -> None:
        self._opening.acknowledged.add(local, stored)
        self._sent.add(1, stored.size)

    def _upload_live(self, files: Sequence[LocalFile], go_on: Callable[[], None]) -> None:
        def stored(local: LocalFile, file: StoredFile) -> None:
            self._stored(local, file)
            go_on()

        try:
            self._means.gentle.upload(files, self.prefix, lambda _progress: go_on(), on_stored=stored)
        finally:
            self._opening.acknowledged.write()

    def _is_uploaded(self, file: LocalFile) -> bool:
        row = self._opening.acknowledged.rows.get(file.path)
        return row is not None and row.is_of(file)

    def _finish(self, output: Output, on_progress: ProgressCallback | None) -> Published:
        self._opening.wait()
        place = self._opening.destination(output)
        if isinstance(place, Published):
            return place
        place = self._opening.beside_what_was_seen(output, place, has_shown=self._partial.has_shown)
        check_place(output.mark, place)
        began = self._means.stopwatch()
        if self._opening.place.round_trip is not None:
            self._means.transfer.expect(self._opening.place.round_trip)
        stored = self._upload(output, place, on_progress)
        manifest = self._verified(output, place, stored)
        commit(self._means.store, place, manifest)
        reached("publish.committed")
        seconds = self._means.stopwatch() - began
        # Before the ledger goes: while it is there, whoever comes after a kill knows that something may be left.
        self._opening.place.release()
        self._opening.clear_earlier(place)
        self._forget()
        speed = manifest.bytes / seconds if seconds > 0 else 0.0
        return Published.of(manifest, place, upload=Upload(seconds=seconds, bytes_per_second=speed))

    def _upload(self, output: Output, prefix: str, on_progress: ProgressCallback | None) -> list[StoredFile]:
        stored = {row.path: row.stored(join_key(prefix, row.path)) for row in output.streamed}
        stored |= self._held(output, prefix)
        self._make_way(output, prefix)
        self._opening.has_sent = True
        overall = Overall(output, stored, on_progress, self._means.stopwatch)
        data, metadata = output.all_but(stored)
        for files, failpoint in ((data, "publish.data-stored"), (metadata, "publish.metadata-stored")):
            if files:
                sent = self._means.transfer.upload(files, prefix, overall.of(files), on_stored=self._stored)
                self._opening.acknowledged.write()
                stored |= {file.path: file for file in sent}
            reached(failpoint)
        return [stored[path] for path in output.paths()]

    def _held(self, output: Output, prefix: str) -> dict[str, StoredFile]:
        """Return what need not be sent: what this process has seen acknowledged, and what the store held before."""
        rows = self._opening.acknowledged.rows
        held = {
            file.path: rows[file.path].stored(join_key(prefix, file.path))
            for file in output.files
            if self._is_uploaded(file)
        }
        if self._opening.begun.listed:
            others = [file for file in output.files if file.path not in rows]
            found = find_held(self._means.store, prefix, others, self._opening.begun, self._means.transfer.budget)
            self._sent.add(len(found), sum(file.size for file in found.values()), skipped=True)
            held |= found
        return held

    def _make_way(self, output: Output, prefix: str) -> None:
        """Delete what was stored and is no output any more, where a file could be in the way of a directory."""
        store, stored = self._means.store, {*self._opening.begun.rows, *self._opening.acknowledged.rows}
        if store.is_on_disk and stored:
            gone = stored.difference(output.paths())
            for_each(store.delete, [join_key(prefix, path) for path in gone], self._means.transfer.budget)

    def _verified(self, output: Output, prefix: str, stored: list[StoredFile]) -> Manifest:
        means = self._means
        unchanged = self._threads.submit(output.check_unchanged)
        # An upload whose beginning was never answered is known to the store alone.
        may_be_left = bool(output.streamed) or any(file.is_multipart for file in stored)
        own = self._opening.own(prefix)
        swept = self._threads.submit(sweep, means.store, prefix, own.has_begun) if may_be_left else None
        try:
            verified = verify(means.store, prefix, stored, means.transfer.budget)
        except VerificationFailedError as error:
            # Publishing again sends them again.
            self._opening.acknowledged.forget(key.removeprefix(f"{prefix}/") for key in error.keys)
            raise
        unchanged.result()
        if swept is not None:
            swept.result()
        reached("publish.verified")
        if foreign := [key for key in verified.extra if not own.has(key)]:
            raise PublicationError(
                f"{prefix} holds objects that this publication did not write ({some_of(foreign)}), and they are not "
                "removed: move them away, or choose another name"
            )
        delete(means.store, prefix, verified.extra, means.transfer.budget)
        reached("publish.swept")
        return self._about.list(stored, verified=verified.how, datasets=output.datasets)

    def _tidy(self, error: Exception) -> None:
        """After a failure, leave no multipart upload behind; what is stored stays for the next try."""
        prefix = self._opening.place.chosen
        if prefix is None or isinstance(error.__cause__ or error, NetworkError):
            # Who cannot be reached needs no more patience; the ledger tells the next try to sweep.
            return
        try:
            sweep(self._means.store, prefix, self._opening.own(prefix).has_begun)
        except StoreError as failure:
            _log.warning("multipart uploads below %s may not have been ended: %s", prefix, failure)

    def _forget(self) -> None:
        self._opening.acknowledged.remove()
        remove(self.streamed)
