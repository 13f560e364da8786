"""One publication while it is made: begun, uploaded, verified, committed, in this order and no other."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitedTooLongError
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from threading import RLock

from wildcast.contract.manifest import Manifest, ManifestError
from wildcast.contract.naming import join_key
from wildcast.contract.wire import Upload
from wildcast_server.errors import (
    NetworkError,
    NotFoundError,
    PublicationError,
    StoreError,
    VerificationFailedError,
)
from wildcast_server.failpoints import reached
from wildcast_server.publish.claim import claim_key
from wildcast_server.publish.clearing import clear, delete, remove_publication, some_of
from wildcast_server.publish.ledgers import Acknowledged, remove
from wildcast_server.publish.listing import list_known
from wildcast_server.publish.live import LiveUploads
from wildcast_server.publish.manifests import commit, read_manifest
from wildcast_server.publish.means import Means, Wanted
from wildcast_server.publish.output import Output, prepare
from wildcast_server.publish.own import Below, Own, look_below
from wildcast_server.publish.partial import About, Partial, was_shown, was_shown_before
from wildcast_server.publish.place import Place
from wildcast_server.publish.published import Published
from wildcast_server.publish.resume import Begun, find_held, sweep
from wildcast_server.publish.same import is_same
from wildcast_server.publish.seen import changed_since_seen
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
        self._place = Place(means.store, means.prefix, wanted.name, wanted.owner, wanted.first)
        self._acknowledged = Acknowledged(None)
        self._begun = Begun()
        self._is_alone = wanted.owner is None
        self._has_sent = False
        self._sent = Sent(means.observe() if means.observe is not None else None)
        self._lock = RLock()
        about = About(store=means.store, execution=wanted.name, attempt=wanted.attempt, clock=means.clock)
        self._partial = Partial(
            means.store, means.gentle, wanted.directory, about, lambda: (self.prefix, self._acknowledged)
        )
        self._about = about
        self._threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="publish")
        self._opening: Future[None] = self._threads.submit(self._open)

    @property
    def prefix(self) -> str:
        """Where the objects go; waits for the store if that is not known yet.

        Raises
        ------
        StoreError
            If the store cannot be asked.
        """
        self._wait()
        with self._lock:
            while self._place.chosen is None:
                self._look()
            return self._place.chosen

    @property
    def streamed(self) -> Path | None:
        """The ledger of what this attempt's workflow writes into the store itself; None if no ledger is kept."""
        ledgers, prefix = self._means.ledgers, join_key(self._means.prefix, self._wanted.name)
        # Who publishes a directory by hand does not know which attempt wrote it.
        found = ledgers.last_streamed(prefix) if self._wanted.owner is not None else None
        return found or ledgers.streamed(prefix, self._wanted.attempt)

    def is_open(self, seconds: float) -> bool:
        """Wait so long for the store at most; whether `prefix` is known."""
        try:
            self._opening.result(seconds)
        except (StoreError, WaitedTooLongError):
            return False
        return self._place.chosen is not None

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
                self._clear(self.prefix, self._acknowledged)
        except StoreError as error:
            _log.warning("%s: what was uploaded before the end stays in the store: %s", self._wanted.name, error)
        finally:
            self.close()

    def close(self) -> None:
        """End without publishing or removing anything: whoever begins again goes on with it. Idempotent."""
        self._sent.tell()
        # When nothing is looked up any more, which would claim the place once more after it was given back.
        self._opening.add_done_callback(self._give_back)
        self._threads.shutdown(wait=False)

    def _wait(self) -> None:
        with self._lock:
            if self._opening.done() and self._opening.exception() is not None:
                self._opening = self._threads.submit(self._open)
            opening = self._opening
        opening.result()

    def _open(self) -> None:
        # Whether the store checks what it is sent may take a request of its own: asked now, it is known in time.
        self._threads.submit(lambda: self._means.store.checks_crc64nvme)
        if self._place.chosen is None:
            self._look()

    def _look(self) -> None:
        """Look at one prefix more, and find out what is below it if it is free."""
        means, place, prefix = self._means, self._place, self._place.next
        acknowledged = Acknowledged(means.ledgers.uploaded(prefix))
        begun = self._wanted.attempt > 1 or acknowledged.is_on_disk or self._has_streamed()
        in_doubt = self._wanted.owner is not None or not (begun or acknowledged.path)
        below = self._threads.submit(look_below, means.store, prefix, self._wanted.owner) if in_doubt else None

        def what() -> Below:
            return Below.NOTHING if below is None else below.result()

        if not place.look(lambda: what() is not Below.FOREIGN or begun):
            if prefix in place.passed_over:
                _log.warning("%s holds objects of others: they stay, and another prefix is used", prefix)
            return
        try:
            self._is_alone = self._wanted.owner is None or what() is Below.OWN
            self._has_sent = begun or what() is Below.OWN
            if self._has_sent and not self._take_up(prefix, acknowledged):
                place.pass_over()
                self._look()
                return
        except BaseException:
            # Looked at again, from the beginning.
            place.release()
            raise
        acknowledged.open()
        self._acknowledged = acknowledged
        reached("publish.begun")

    def _take_up(self, prefix: str, acknowledged: Acknowledged) -> bool:
        """Take over what an earlier try left below `prefix`; whether that place can be had."""
        store, wanted = self._means.store, self._wanted
        if wanted.afresh:
            self._clear(prefix, acknowledged)
            # What readers could have seen there is never rewritten.
            return not (wanted.may_be_seen and was_shown(store, prefix))
        if wanted.may_be_seen and was_shown_before(store, prefix, wanted.attempt):
            return False
        begun = Begun(acknowledged.read(), {} if wanted.owner is None else Acknowledged(self.streamed).read())
        own = self._own(prefix, begun)
        swept = self._threads.submit(sweep, store, prefix, own.has_begun)
        keys = [join_key(prefix, path) for path in begun.rows]
        list_known(store, prefix, keys, self._means.transfer.budget, begun.take)
        swept.result()
        if foreign := own.foreign(begun.listed.values()):
            _log.warning("%s: others have written %s; another prefix is used", prefix, some_of(foreign))
            return False
        self._begun = begun
        return True

    def _own(self, prefix: str, begun: Begun | None = None) -> Own:
        """Tell what below `prefix` may be removed: where others may have chosen the name, not what they wrote."""
        begun = begun or self._begun
        rows = (begun.rows, begun.streamed, self._acknowledged.rows)
        return Own(prefix, self._is_alone, rows, self._wanted.directory if self._has_sent else None)

    def _clear(self, prefix: str, acknowledged: Acknowledged, *, for_good: bool = False) -> None:
        """Remove what lies below `prefix`, but for the sign that readers have looked there, unless it is `for_good`."""
        sign = None if for_good else self._about.list()
        stays = clear(self._means.store, self._own(prefix), self._means.transfer.budget, sign)
        # Last: while there is a ledger, the next attempt knows that something may be there.
        acknowledged.rows.clear()
        if stays:
            acknowledged.close()
        else:
            acknowledged.remove()
        remove(self.streamed)

    def _clear_earlier(self, chosen: str) -> None:
        """Remove what earlier attempts left at the places before this one."""
        if self._wanted.owner is not None:
            # Those may be somebody else's.
            return
        for prefix in takewhile(lambda place: place != chosen, self._place.earlier):
            try:
                self._clear_place(prefix, Acknowledged(self._means.ledgers.uploaded(prefix)))
            except (StoreError, ManifestError) as error:
                _log.warning("what an earlier attempt left below %s stays there: %s", prefix, error)

    def _clear_place(self, prefix: str, acknowledged: Acknowledged) -> None:
        """Remove what was left below `prefix`; what an earlier attempt committed there was never told to anybody."""
        try:
            committed = read_manifest(self._means.store, prefix)
        except NotFoundError:
            self._clear(prefix, acknowledged, for_good=True)
            return
        if committed.attempt < self._wanted.attempt:
            remove_publication(self._means.store, prefix, self._means.transfer.budget, committed=True)
            acknowledged.remove()
            _log.info("%s removed: attempt %d was published there and never recorded", prefix, committed.attempt)

    def _has_streamed(self) -> bool:
        return self.streamed is not None and self.streamed.exists()

    def _stored(self, local: LocalFile, stored: StoredFile) -> None:
        self._acknowledged.add(local, stored)
        self._sent.add(1, stored.size)

    def _upload_live(self, files: Sequence[LocalFile], go_on: Callable[[], None]) -> None:
        def stored(local: LocalFile, file: StoredFile) -> None:
            self._stored(local, file)
            go_on()

        try:
            self._means.gentle.upload(files, self.prefix, lambda _progress: go_on(), on_stored=stored)
        finally:
            self._acknowledged.write()

    def _is_uploaded(self, file: LocalFile) -> bool:
        row = self._acknowledged.rows.get(file.path)
        return row is not None and row.is_of(file)

    def _finish(self, output: Output, on_progress: ProgressCallback | None) -> Published:
        self._wait()
        place = self._destination(output)
        if isinstance(place, Published):
            return place
        place = self._beside_what_was_seen(output, place)
        check_place(output.mark, place)
        began = self._means.stopwatch()
        if self._place.round_trip is not None:
            self._means.transfer.expect(self._place.round_trip)
        stored = self._upload(output, place, on_progress)
        manifest = self._verified(output, place, stored)
        commit(self._means.store, place, manifest)
        reached("publish.committed")
        seconds = self._means.stopwatch() - began
        # Before the ledger goes: while it is there, whoever comes after a kill knows that something may be left.
        self._place.release()
        self._clear_earlier(place)
        self._forget()
        speed = manifest.bytes / seconds if seconds > 0 else 0.0
        return Published.of(manifest, place, upload=Upload(seconds=seconds, bytes_per_second=speed))

    def _destination(self, output: Output) -> str | Published:
        """Return the first prefix that is free, unless one before it holds these very files."""
        for number in range(1_000_000):
            with self._lock:
                while len(self._place.occupied) <= number and self._place.chosen is None:
                    self._look()
            if number == len(self._place.occupied):
                break
            published = self._published(output, self._place.occupied[number])
            if published is not None:
                if self._place.chosen is not None:
                    self._clear(self._place.chosen, self._acknowledged, for_good=True)
                return published
        return self.prefix

    def _published(self, output: Output, prefix: str) -> Published | None:
        """Return what is published at `prefix`, if it is these very files."""
        if prefix in self._place.passed_over:
            return None
        try:
            manifest = read_manifest(self._means.store, prefix)
        except NotFoundError:
            _log.warning(
                "%s is being published by somebody else, or was interrupted; another prefix is used "
                "(if nobody does, delete %s)",
                prefix,
                claim_key(prefix),
            )
            return None
        except ManifestError as error:
            _log.warning("%s is left as it is, and another prefix used: %s", prefix, error)
            return None
        acknowledged = Acknowledged(self._means.ledgers.uploaded(prefix))
        if not is_same(self._means.store, prefix, manifest, output, acknowledged):
            return None
        if acknowledged.is_on_disk:
            # Whoever committed it was killed before all was tidied up.
            self._place.release_left(prefix)
            self._clear_earlier(prefix)
            acknowledged.remove()
            remove(self.streamed)
        return Published.of(manifest, prefix)

    def _beside_what_was_seen(self, output: Output, prefix: str) -> str:
        """Return `prefix`, or the next place, if a reader could have seen other bytes of a file that changed since."""
        store, budget = self._means.store, self._means.transfer.budget
        while (self._partial.has_shown or self._wanted.may_be_seen) and was_shown(store, prefix):
            rows = {**self._begun.rows, **self._acknowledged.rows}
            path = changed_since_seen(store, prefix, output.files, rows, budget)
            if path is None:
                break
            _log.info("%s changed after readers could have seen it below %s: another prefix is used", path, prefix)
            self._acknowledged.close()
            with self._lock:
                self._begun = Begun()
                self._place.pass_over()
            prefix = self.prefix
        return prefix

    def _upload(self, output: Output, prefix: str, on_progress: ProgressCallback | None) -> list[StoredFile]:
        stored = {row.path: row.stored(join_key(prefix, row.path)) for row in output.streamed}
        stored |= self._held(output, prefix)
        self._make_way(output, prefix)
        self._has_sent = True
        overall = Overall(output, stored, on_progress, self._means.stopwatch)
        data, metadata = output.all_but(stored)
        for files, failpoint in ((data, "publish.data-stored"), (metadata, "publish.metadata-stored")):
            if files:
                sent = self._means.transfer.upload(files, prefix, overall.of(files), on_stored=self._stored)
                self._acknowledged.write()
                stored |= {file.path: file for file in sent}
            reached(failpoint)
        return [stored[path] for path in output.paths()]

    def _held(self, output: Output, prefix: str) -> dict[str, StoredFile]:
        """Return what need not be sent: what this process has seen acknowledged, and what the store held before."""
        rows = self._acknowledged.rows
        held = {
            file.path: rows[file.path].stored(join_key(prefix, file.path))
            for file in output.files
            if self._is_uploaded(file)
        }
        if self._begun.listed:
            others = [file for file in output.files if file.path not in rows]
            found = find_held(self._means.store, prefix, others, self._begun, self._means.transfer.budget)
            self._sent.add(len(found), sum(file.size for file in found.values()), skipped=True)
            held |= found
        return held

    def _make_way(self, output: Output, prefix: str) -> None:
        """Delete what was stored and is no output any more, where a file could be in the way of a directory."""
        store, stored = self._means.store, {*self._begun.rows, *self._acknowledged.rows}
        if store.is_on_disk and stored:
            gone = stored.difference(output.paths())
            for_each(store.delete, [join_key(prefix, path) for path in gone], self._means.transfer.budget)

    def _verified(self, output: Output, prefix: str, stored: list[StoredFile]) -> Manifest:
        means = self._means
        unchanged = self._threads.submit(output.check_unchanged)
        # An upload whose beginning was never answered is known to the store alone.
        may_be_left = bool(output.streamed) or any(file.is_multipart for file in stored)
        own = self._own(prefix)
        swept = self._threads.submit(sweep, means.store, prefix, own.has_begun) if may_be_left else None
        try:
            verified = verify(means.store, prefix, stored, means.transfer.budget)
        except VerificationFailedError as error:
            # Publishing again sends them again.
            self._acknowledged.forget(key.removeprefix(f"{prefix}/") for key in error.keys)
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
        if self._place.chosen is None or isinstance(error.__cause__ or error, NetworkError):
            # Who cannot be reached needs no more patience; the ledger tells the next try to sweep.
            return
        try:
            sweep(self._means.store, self._place.chosen, self._own(self._place.chosen).has_begun)
        except StoreError as failure:
            _log.warning("multipart uploads below %s may not have been ended: %s", self._place.chosen, failure)

    def _forget(self) -> None:
        self._acknowledged.remove()
        remove(self.streamed)

    def _give_back(self, _opened: "Future[None]") -> None:
        self._acknowledged.close()
        self._place.release()
