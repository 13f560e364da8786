"""Publish an output directory into a store: upload, verify, commit, in this order and no other."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from wildcast.contract.manifest import Manifest, ManifestError
from wildcast.contract.naming import is_metadata, join_key
from wildcast.contract.wire import Upload
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import NotFoundError
from wildcast_server.publish.claim import Claim, claim_key
from wildcast_server.publish.manifests import commit, manifest_key, read_manifest, rows_of
from wildcast_server.publish.output import Output, check_name, prepare
from wildcast_server.publish.published import Clock, Published
from wildcast_server.publish.verify import is_intact, verify
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.digest import digest_files
from wildcast_server.transfer.engine import Transfer
from wildcast_server.transfer.files import LocalFile, ProgressCallback, StoredFile, TransferProgress
from wildcast_server.transfer.pool import for_each

_log = logging.getLogger(__name__)


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
        clock: Clock = utc_now,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._transfer = transfer
        self._prefix = prefix
        self._clock = clock
        self._stopwatch = stopwatch

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
        Data is uploaded before the metadata that describes it; then every object is verified; then what else lies
        under the prefix, from a publication that never came to its end, is deleted. The manifest is the commit mark:
        it is written last, after all that, and where it is missing nothing is published.

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
        check_name(name)
        output = prepare(directory)
        with ExitStack() as claims:
            place = self._place(output, name, owner, claims)
            if isinstance(place, Published):
                return place
            began = self._stopwatch()
            stored = self._upload(output, place, on_progress)
            manifest = self._verified(output, place, stored, name, attempt)
            commit(self._store, place, manifest)
            seconds = self._stopwatch() - began
        speed = manifest.bytes / seconds if seconds > 0 else 0.0
        return Published.of(manifest, place, upload=Upload(seconds=seconds, bytes_per_second=speed))

    def _place(self, output: Output, name: str, owner: str | None, claims: ExitStack) -> str | Published:
        """Return the first prefix that is free, claimed for `owner`, unless one before it holds these very files."""
        number = 1
        while True:
            prefix = join_key(self._prefix, name if number == 1 else f"{name}-{number}")
            if not self._is_published(prefix) and self._claim(prefix, owner, claims):
                return prefix
            published = self._published(output, prefix)
            if published is not None:
                return published
            number += 1

    def _claim(self, prefix: str, owner: str | None, claims: ExitStack) -> bool:
        """Claim a prefix, if there is an owner to claim it for; say whether it may be written."""
        if owner is None:
            return True
        claim = Claim.take(self._store, prefix, owner)
        if claim is None:
            return False
        # Somebody may have published there, and released the claim, since we looked.
        if self._is_published(prefix):
            claim.release()
            return False
        claims.callback(claim.release)
        return True

    def _is_published(self, prefix: str) -> bool:
        try:
            self._store.head(manifest_key(prefix))
        except NotFoundError:
            return False
        return True

    def _published(self, output: Output, prefix: str) -> Published | None:
        """Return what is published at `prefix`, if it is these very files."""
        try:
            manifest = read_manifest(self._store, prefix)
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
        return Published.of(manifest, prefix) if self._is_same(output, prefix, manifest) else None

    def _is_same(self, output: Output, prefix: str, manifest: Manifest) -> bool:
        if [(row.path, row.size) for row in manifest.rows] != [(file.path, file.size) for file in output.files]:
            return False
        digests = digest_files(output.files)
        if [row.crc64nvme for row in manifest.rows] != [file.crc64nvme for file in digests]:
            return False
        if is_intact(self._store, prefix, manifest):
            return True
        _log.warning("%s has lost objects since it was published; another prefix is used", prefix)
        return False

    def _upload(self, output: Output, prefix: str, on_progress: ProgressCallback | None) -> list[StoredFile]:
        data = [file for file in output.files if not is_metadata(file.path)]
        metadata = [file for file in output.files if is_metadata(file.path)]
        stored = self._transfer.upload(data, prefix, _shifted(on_progress, [], metadata))
        stored += self._transfer.upload(metadata, prefix, _shifted(on_progress, data, []))
        return stored

    def _verified(self, output: Output, prefix: str, stored: list[StoredFile], name: str, attempt: int) -> Manifest:
        verified = verify(self._store, prefix, stored, self._transfer.budget)
        output.check_unchanged()
        for_each(self._store.delete, verified.extra, self._transfer.budget)
        return Manifest.of(
            rows_of(stored),
            execution=name,
            attempt=attempt,
            created_at=self._clock(),
            verified=verified.how,
            datasets=output.datasets,
        )


def _shifted(
    on_progress: ProgressCallback | None,
    before: Sequence[LocalFile],
    after: Sequence[LocalFile],
) -> ProgressCallback | None:
    """Make the progress of one part of the files that of all of them."""
    if on_progress is None:
        return None
    bytes_before, others = sum(file.size for file in before), sum(file.size for file in (*before, *after))

    def shifted(progress: TransferProgress) -> None:
        on_progress(
            TransferProgress(
                files_done=progress.files_done + len(before),
                files_total=progress.files_total + len(before) + len(after),
                bytes_done=progress.bytes_done + bytes_before,
                bytes_total=progress.bytes_total + others,
            ),
        )

    return shifted
