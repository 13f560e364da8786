"""Publish an output directory into a store."""

import time
from collections.abc import Callable
from pathlib import Path

from wildcast_server.domain.execution import utc_now
from wildcast_server.publish.ledgers import Ledgers
from wildcast_server.publish.means import Means, Wanted
from wildcast_server.publish.output import check_name
from wildcast_server.publish.published import Clock, Published
from wildcast_server.publish.publishing import Publishing
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.engine import Transfer
from wildcast_server.transfer.files import ProgressCallback


class Publisher:
    """Publishes output directories below one prefix of a store.

    Parameters
    ----------
    store
        Where to.
    transfer
        Moves the files into that store.
    prefix
        What every publication's prefix begins with; may be empty.
    ledgers
        The directory in which is noted what the store has acknowledged, until the commit; then whoever goes on after a
        kill sends nothing twice. None for none.
    gentle
        Moves files while a workflow computes, with fewer requests at a time; None for `transfer` itself.
    observe
        Called once a publication; what it returns is told, live too, what is sent and what need not be.
    clock
        Tells the manifests' time.
    stopwatch
        Counts seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        transfer: Transfer,
        *,
        prefix: str,
        ledgers: Path | None = None,
        gentle: Transfer | None = None,
        observe: Callable[[], ProgressCallback] | None = None,
        clock: Clock = utc_now,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._means = Means(
            store=store,
            transfer=transfer,
            gentle=gentle or transfer,
            prefix=prefix,
            ledgers=Ledgers(ledgers, store.uri),
            observe=observe,
            clock=clock,
            stopwatch=stopwatch,
        )

    def begin(
        self,
        directory: Path,
        name: str,
        *,
        attempt: int = 1,
        owner: str | None = None,
        afresh: bool = False,
        first: int = 1,
        may_be_seen: bool = False,
    ) -> Publishing:
        """Begin to publish `directory` as ``<prefix>/<name>``; it may still be written. Asks no patience of the caller.

        Parameters
        ----------
        directory, name, attempt, owner
            As `publish` has them.
        afresh
            Whether `directory` is still to be written: then what an earlier attempt left in the store, if it was never
            committed, is removed first. Otherwise that is gone on with.
        first
            Where to begin looking for a place, which is then ``<prefix>/<name>-<first>``: whoever wrote at those before
            it may still do so. What they left is removed after the commit.
        may_be_seen
            Whether somebody has asked to read the result while it is made.

        Raises
        ------
        UnpublishableFileError
            If `name` cannot be one.
        """
        check_name(name)
        wanted = Wanted(
            directory=Path(directory),
            name=name,
            attempt=attempt,
            owner=owner,
            afresh=afresh,
            first=first,
            may_be_seen=may_be_seen,
        )
        return Publishing(self._means, wanted)

    def publish(
        self,
        directory: Path,
        name: str,
        *,
        attempt: int = 1,
        owner: str | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Published:
        """Publish `directory` as ``<prefix>/<name>``.

        A directory whose very files are published there already is that same publication: nothing is written. If
        something else is, readers may have it, and a CDN keeps it; so this one goes to ``<name>-2``, ``-3`` and so on.
        So it does where another owner holds a claim on the prefix: two never write below the same one.
        What an interrupted publication left there is gone on with: what the store verifiably holds is not sent again.
        Data is uploaded before the metadata that describes it; then every object is verified; then what else lies
        under the prefix, from a publication that never came to its end, is deleted. The manifest is the commit mark:
        it is written last, after all that, and where it is missing nothing is published.

        Where there is an owner, only what the ledgers know, or what lies under a claim that this owner had left, is
        gone on with, deleted or aborted. Objects of others stay, and the next prefix is used; if they come while it is
        published, it fails.

        Parameters
        ----------
        directory
            What to publish. Zarr groups in it get consolidated metadata if they have none.
        name
            The execution, or what else the publication is called; one segment.
        attempt
            The try that wrote the directory, from 1.
        owner
            Who publishes, where others may choose the same name: the prefix is claimed meanwhile, and after a kill the
            same owner goes on there. None if nobody else can have this name, as with an execution's id.
        on_progress
            Called as files are uploaded.

        Raises
        ------
        PublicationError
            A subclass: something in the directory cannot be published (`UnpublishableFileError`, `EmptyOutputError`),
            was written meanwhile (`FileChangedError`), was refused (`UploadFailedError`), or is not in the store as it
            was sent (`VerificationFailedError`).
        StoreError
            If the store cannot be listed or read, or refuses the claim.
        """
        return self.begin(directory, name, attempt=attempt, owner=owner).finish(on_progress)
