"""Claim a prefix, so that publishers who know nothing of each other never write below the same one."""

import logging
from dataclasses import dataclass

from wildcast.contract.naming import RESERVED, join_key
from wildcast_server.errors import AlreadyExistsError, NotFoundError, StoreError
from wildcast_server.store.base import ObjectStore

_log = logging.getLogger(__name__)

CLAIM_PATH = f"{RESERVED}/claim"
"""Where a publication's claim lies while it is being made, relative to its prefix."""


def claim_key(prefix: str) -> str:
    """Return the key of the claim on `prefix`."""
    return join_key(prefix, CLAIM_PATH)


def holder(store: ObjectStore, prefix: str) -> bytes | None:
    """Return what the claim on `prefix` says of its owner; None if there is none."""
    try:
        return store.get(claim_key(prefix))
    except NotFoundError:
        return None


@dataclass(frozen=True)
class Claim:
    """The right to write below a prefix, until it is released; `take` makes it."""

    store: ObjectStore
    prefix: str

    @classmethod
    def take(cls, store: ObjectStore, prefix: str, owner: str) -> "Claim | None":
        """Claim `prefix`, or return None if another owner has it.

        A claim outlives a publisher that is killed, and nobody can tell that from one that is slow; so it stays in
        force, and its own owner alone goes on under it.
        """
        key, content = claim_key(prefix), owner.encode()
        try:
            store.put_if_absent(key, content)
        except AlreadyExistsError:
            # Ours: from a run that was killed, or the store's first answer was lost and the request repeated.
            return cls.held(store, prefix, owner)
        return cls(store, prefix)

    @classmethod
    def held(cls, store: ObjectStore, prefix: str, owner: str) -> "Claim | None":
        """Return the claim on `prefix` if `owner` has it."""
        return cls(store, prefix) if holder(store, prefix) == owner.encode() else None

    def release(self) -> None:
        """Give the prefix free; if the store fails, the claim stays, and a warning says so."""
        try:
            self.store.delete(claim_key(self.prefix))
        except StoreError as error:
            _log.warning("the claim %s/%s stays: %s", self.store.uri, claim_key(self.prefix), error)
