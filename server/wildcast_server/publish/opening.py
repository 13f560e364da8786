"""Where a publication goes, and what an earlier try left there."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitedTooLongError
from itertools import takewhile
from pathlib import Path
from threading import RLock

from wildcast.contract.manifest import ManifestError
from wildcast.contract.naming import join_key
from wildcast_server.errors import NotFoundError, StoreError
from wildcast_server.failpoints import reached
from wildcast_server.publish.claim import claim_key
from wildcast_server.publish.clearing import clear, remove_publication, some_of
from wildcast_server.publish.ledgers import Acknowledged, remove
from wildcast_server.publish.listing import list_known
from wildcast_server.publish.manifests import read_manifest
from wildcast_server.publish.means import Means, Wanted
from wildcast_server.publish.output import Output
from wildcast_server.publish.own import Below, Own, look_below
from wildcast_server.publish.partial import About, was_shown, was_shown_before
from wildcast_server.publish.place import Place
from wildcast_server.publish.published import Published
from wildcast_server.publish.resume import Begun, sweep
from wildcast_server.publish.same import is_same
from wildcast_server.publish.seen import changed_since_seen

_log = logging.getLogger(__name__)


class Opening:
    """Finds the place of one publication, in the background from the beginning on.

    If the store fails meanwhile, the next who needs the answer asks again.

    Parameters
    ----------
    means, wanted
        Of the publication.
    about
        What its lists and manifests say of it.
    threads
        Where the store is looked at.
    """

    def __init__(self, means: Means, wanted: Wanted, about: About, threads: ThreadPoolExecutor) -> None:
        self._means = means
        self._wanted = wanted
        self._about = about
        self._threads = threads
        self._lock = RLock()
        self._is_alone = wanted.owner is None
        self.place = Place(means.store, means.prefix, wanted.name, wanted.owner, wanted.first)
        self.acknowledged = Acknowledged(None)
        """The ledger of what is sent to the chosen place."""
        self.begun = Begun()
        """What an earlier try left there."""
        self.has_sent = False
        """Whether something of this publication may be there."""
        self._opening: Future[None] = threads.submit(self._open)

    @property
    def prefix(self) -> str:
        """Where the objects go; waits for the store if that is not known yet.

        Raises
        ------
        StoreError
            If the store cannot be asked.
        """
        self.wait()
        with self._lock:
            while self.place.chosen is None:
                self._look()
            return self.place.chosen

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
        return self.place.chosen is not None

    def wait(self) -> None:
        """Return when the store was looked at; raises `StoreError` if it cannot be."""
        with self._lock:
            if self._opening.done() and self._opening.exception() is not None:
                self._opening = self._threads.submit(self._open)
            opening = self._opening
        opening.result()

    def destination(self, output: Output) -> str | Published:
        """Return the first prefix that is free, unless one before it holds these very files."""
        for number in range(1_000_000):
            with self._lock:
                while len(self.place.occupied) <= number and self.place.chosen is None:
                    self._look()
            if number == len(self.place.occupied):
                break
            published = self._published(output, self.place.occupied[number])
            if published is not None:
                if self.place.chosen is not None:
                    self.clear(self.place.chosen, self.acknowledged, for_good=True)
                return published
        return self.prefix

    def _published(self, output: Output, prefix: str) -> Published | None:
        """Return what is published at `prefix`, if it is these very files."""
        if prefix in self.place.passed_over:
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
            self.place.release_left(prefix)
            self.clear_earlier(prefix)
            acknowledged.remove()
            remove(self.streamed)
        return Published.of(manifest, prefix)

    def beside_what_was_seen(self, output: Output, prefix: str, *, has_shown: bool) -> str:
        """Return `prefix`, or the next place, if a reader could have seen other bytes of a file that changed since."""
        store, budget = self._means.store, self._means.transfer.budget
        while (has_shown or self._wanted.may_be_seen) and was_shown(store, prefix):
            rows = {**self.begun.rows, **self.acknowledged.rows}
            path = changed_since_seen(store, prefix, output.files, rows, budget)
            if path is None:
                break
            _log.info("%s changed after readers could have seen it below %s: another prefix is used", path, prefix)
            self.acknowledged.close()
            with self._lock:
                self.begun = Begun()
                self.place.pass_over()
            prefix = self.prefix
        return prefix

    def _open(self) -> None:
        # Whether the store checks what it is sent may take a request of its own: asked now, it is known in time.
        self._threads.submit(lambda: self._means.store.checks_crc64nvme)
        if self.place.chosen is None:
            self._look()

    def _look(self) -> None:
        """Look at one prefix more, and find out what is below it if it is free."""
        means, place, prefix = self._means, self.place, self.place.next
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
            self.has_sent = begun or what() is Below.OWN
            if self.has_sent and not self._take_up(prefix, acknowledged):
                place.pass_over()
                self._look()
                return
        except BaseException:
            # Looked at again, from the beginning.
            place.release()
            raise
        acknowledged.open()
        self.acknowledged = acknowledged
        reached("publish.begun")

    def _take_up(self, prefix: str, acknowledged: Acknowledged) -> bool:
        """Take over what an earlier try left below `prefix`; whether that place can be had."""
        store, wanted = self._means.store, self._wanted
        if wanted.afresh:
            self.clear(prefix, acknowledged)
            # What readers could have seen there is never rewritten.
            return not (wanted.may_be_seen and was_shown(store, prefix))
        if wanted.may_be_seen and was_shown_before(store, prefix, wanted.attempt):
            return False
        begun = Begun(acknowledged.read(), {} if wanted.owner is None else Acknowledged(self.streamed).read())
        own = self.own(prefix, begun)
        swept = self._threads.submit(sweep, store, prefix, own.has_begun)
        keys = [join_key(prefix, path) for path in begun.rows]
        list_known(store, prefix, keys, self._means.transfer.budget, begun.take)
        swept.result()
        if foreign := own.foreign(begun.listed.values()):
            _log.warning("%s: others have written %s; another prefix is used", prefix, some_of(foreign))
            return False
        self.begun = begun
        return True

    def own(self, prefix: str, begun: Begun | None = None) -> Own:
        """Tell what below `prefix` may be removed: where others may have chosen the name, not what they wrote."""
        begun = begun or self.begun
        rows = (begun.rows, begun.streamed, self.acknowledged.rows)
        return Own(prefix, self._is_alone, rows, self._wanted.directory if self.has_sent else None)

    def clear(self, prefix: str, acknowledged: Acknowledged, *, for_good: bool = False) -> None:
        """Remove what lies below `prefix`, but for the sign that readers have looked there, unless it is `for_good`."""
        sign = None if for_good else self._about.list()
        stays = clear(self._means.store, self.own(prefix), self._means.transfer.budget, sign)
        # Last: while there is a ledger, the next attempt knows that something may be there.
        acknowledged.rows.clear()
        if stays:
            acknowledged.close()
        else:
            acknowledged.remove()
        remove(self.streamed)

    def clear_earlier(self, chosen: str) -> None:
        """Remove what earlier attempts left at the places before this one."""
        if self._wanted.owner is not None:
            # Those may be somebody else's.
            return
        for prefix in takewhile(lambda place: place != chosen, self.place.earlier):
            try:
                self._clear_place(prefix, Acknowledged(self._means.ledgers.uploaded(prefix)))
            except (StoreError, ManifestError) as error:
                _log.warning("what an earlier attempt left below %s stays there: %s", prefix, error)

    def _clear_place(self, prefix: str, acknowledged: Acknowledged) -> None:
        """Remove what was left below `prefix`; what an earlier attempt committed there was never told to anybody."""
        try:
            committed = read_manifest(self._means.store, prefix)
        except NotFoundError:
            self.clear(prefix, acknowledged, for_good=True)
            return
        if committed.attempt < self._wanted.attempt:
            remove_publication(self._means.store, prefix, self._means.transfer.budget, committed=True)
            acknowledged.remove()
            _log.info("%s removed: attempt %d was published there and never recorded", prefix, committed.attempt)

    def _has_streamed(self) -> bool:
        return self.streamed is not None and self.streamed.exists()

    def _give_back(self, _opened: "Future[None]") -> None:
        self.acknowledged.close()
        self.place.release()

    def close(self) -> None:
        """Give the place back, if nothing was published. Idempotent."""
        # When nothing is looked up any more, which would claim the place once more after it was given back.
        self._opening.add_done_callback(self._give_back)
