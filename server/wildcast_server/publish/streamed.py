"""What a workflow streamed past the disk: all of it is found again, or nothing is published."""

from collections.abc import Mapping
from pathlib import Path

from wildcast.contract.manifest import ManifestError
from wildcast_server.errors import NotFoundError, PublicationError
from wildcast_server.publish.manifests import read_manifest
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.ledger import LedgerRow, read_ledger
from wildcast_server.transfer.mark import StreamMark, read_mark


def find_streamed(directory: Path, ledger: Path | None, store: ObjectStore) -> Mapping[str, LedgerRow]:
    """Return what the ledger tells, or, where that is gone since the commit, the manifest.

    Raises
    ------
    PublicationError
        If the ledger or the directory's mark cannot be read.
    StoreError
        If the store cannot be asked for the manifest.
    """
    mark, rows = mark_of(directory), _read(ledger)
    if mark is None or mark.rows is None or mark.is_of(rows):
        return rows
    committed = _committed(directory, mark.prefix, store)
    return committed if mark.is_of(committed) else rows


def mark_of(directory: Path) -> StreamMark | None:
    """Return the directory's mark, if there is one; raises `PublicationError` if it cannot be read."""
    try:
        return read_mark(directory)
    except (OSError, ValueError) as error:
        raise PublicationError(
            f"what was streamed of {directory} is not known, run the workflow again: {error}"
        ) from error


def check_streamed(directory: Path, mark: StreamMark | None, rows: Mapping[str, LedgerRow]) -> None:
    """Hold that `rows` are all that was streamed of this directory, and of no other.

    Raises
    ------
    PublicationError
        If they are not. Nothing in the store was changed.
    """
    if mark is None:
        if rows:
            raise PublicationError(
                f"an execution streamed {len(rows)} objects under this name, and {directory} is not its directory; "
                "publish that directory, or this one under another name"
            )
    elif mark.rows is None:
        raise PublicationError(
            f"a workflow that did not come to its end streamed a part of {directory} to {mark.prefix}; run it again"
        )
    elif not mark.is_of(rows):
        raise PublicationError(
            f"{mark.rows} objects of {directory} were streamed to {mark.prefix}, and the ledger that tells of them is "
            "not in this output_dir; publish with the output_dir, store, prefix and name of the run, or run it again"
        )


def check_place(mark: StreamMark | None, prefix: str) -> None:
    """Raise `PublicationError` if something was streamed, and not to this prefix."""
    if mark is not None and mark.rows and mark.prefix != prefix:
        raise PublicationError(
            f"a part of the output was streamed to {mark.prefix}, so it cannot be published at {prefix}; "
            "run the workflow again"
        )


def _read(ledger: Path | None) -> dict[str, LedgerRow]:
    try:
        return {} if ledger is None else read_ledger(ledger)
    except NotADirectoryError:
        return {}
    except OSError as error:
        # Without it, what the workflow streamed would be taken for leftovers.
        raise PublicationError(f"the ledger of what was streamed cannot be read, publish again: {error}") from error


def _committed(directory: Path, prefix: str, store: ObjectStore) -> dict[str, LedgerRow]:
    """Return what is published at `prefix` and is not on disk."""
    try:
        manifest = read_manifest(store, prefix)
    except (NotFoundError, ManifestError):
        return {}
    return {
        row.path: LedgerRow(row.path, row.size, row.crc64nvme, row.etag, None, True, row.content_type)  # noqa: FBT003 - a row's field
        for row in manifest.rows
        if not (directory / row.path).exists()
    }
