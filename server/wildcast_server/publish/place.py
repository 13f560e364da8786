"""Choose the prefix of a publication: the first that is free."""

import time
from collections.abc import Callable

from wildcast.contract.naming import join_key
from wildcast_server.errors import NotFoundError
from wildcast_server.publish.claim import Claim
from wildcast_server.publish.manifests import manifest_key
from wildcast_server.store.base import ObjectStore


class Place:
    """Looks at ``<base>/<name>``, ``<base>/<name>-2`` and so on, one at a time, as far as it is asked to.

    Where `first` is higher, it begins there.

    A prefix is free if no publication was committed there, and, where there is an owner, no other one claims it.

    Parameters
    ----------
    owner
        For whom to claim the prefix; None if nobody else can have the name.
    first
        Number of the place to look at first; those before it belong to attempts that may still write there.
    """

    def __init__(self, store: ObjectStore, base: str, name: str, owner: str | None, first: int = 1) -> None:
        self._store = store
        self._base = base
        self._name = name
        self._owner = owner
        self._first = first
        self._claim: Claim | None = None
        self.occupied: list[str] = []
        """What was looked at and cannot be had, in order."""
        self.passed_over: set[str] = set()
        """Those of them that were given up: nobody has published there."""
        self.chosen: str | None = None
        """The free one, if it was found."""
        self.round_trip: float | None = None
        """Seconds that the quickest look took, if there was one."""

    @property
    def next(self) -> str:
        """The prefix that `look` looks at."""
        return self._prefix(self._first + len(self.occupied))

    @property
    def earlier(self) -> list[str]:
        """The places before the chosen one, those that were never looked at among them."""
        return [*map(self._prefix, range(1, self._first)), *self.occupied]

    def look(self, may_be_taken: Callable[[], bool] = lambda: True) -> bool:
        """Look at one prefix more; whether it is free, and chosen.

        Parameters
        ----------
        may_be_taken
            Whether what else lies there allows it. It is asked before the prefix is claimed: a claim says to whoever
            comes after a kill that all is ours.
        """
        prefix = self.next
        if self.is_published(prefix):
            self.occupied.append(prefix)
            return False
        if not may_be_taken():
            self.occupied.append(prefix)
            # Somebody may have published there since we looked.
            if not self.is_published(prefix):
                self.passed_over.add(prefix)
            return False
        if not self._take(prefix):
            self.occupied.append(prefix)
            return False
        self.chosen = prefix
        return True

    def is_published(self, prefix: str) -> bool:
        """Whether there is a manifest at `prefix`."""
        began = time.perf_counter()
        try:
            self._store.head(manifest_key(prefix))
        except NotFoundError:
            return False
        finally:
            took = time.perf_counter() - began
            self.round_trip = took if self.round_trip is None else min(took, self.round_trip)
        return True

    def pass_over(self) -> None:
        """Give the chosen one up, and go on with the next."""
        if self.chosen is not None:
            self.occupied.append(self.chosen)
            self.passed_over.add(self.chosen)
        self.release()

    def release(self) -> None:
        """Give back what was chosen, and its claim. Idempotent."""
        self.chosen = None
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()

    def release_left(self, prefix: str) -> None:
        """Give back the claim that a killed publisher of the same owner left at a prefix which it had committed."""
        if self._owner is not None:
            claim = Claim.held(self._store, prefix, self._owner)
            if claim is not None:
                claim.release()

    def _prefix(self, number: int) -> str:
        return join_key(self._base, self._name if number == 1 else f"{self._name}-{number}")

    def _take(self, prefix: str) -> bool:
        """Claim a prefix, if there is an owner to claim it for; say whether it may be written."""
        if self._owner is None:
            return True
        claim = Claim.take(self._store, prefix, self._owner)
        if claim is None:
            return False
        # Somebody may have published there, and released the claim, since we looked.
        if self.is_published(prefix):
            claim.release()
            return False
        self._claim = claim
        return True
