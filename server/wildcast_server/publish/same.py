"""Tell whether a publication is of the very files that are to be published."""

import logging
from collections.abc import Mapping

from wildcast.contract.manifest import Manifest
from wildcast_server.publish.ledgers import Acknowledged
from wildcast_server.publish.output import Output
from wildcast_server.publish.verify import is_intact
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.digest import digest_files
from wildcast_server.transfer.ledger import LedgerRow

_log = logging.getLogger(__name__)


def is_same(store: ObjectStore, prefix: str, manifest: Manifest, output: Output, acknowledged: Acknowledged) -> bool:
    """Whether what is published at `prefix` is this output, with all of its objects.

    Parameters
    ----------
    store, prefix, manifest
        What is published, and where.
    output
        What is to be published.
    acknowledged
        The ledger of that prefix, if there is one still: what it knows need not be read.
    """
    if [(row.path, row.size) for row in manifest.rows] != output.sizes():
        return False
    sums = _checksums(output, acknowledged.read())
    if any(row.crc64nvme != sums[row.path] for row in manifest.rows):
        return False
    if not is_intact(store, prefix, manifest):
        _log.warning("%s has lost objects since it was published; another prefix is used", prefix)
        return False
    return True


def _checksums(output: Output, rows: Mapping[str, LedgerRow]) -> dict[str, str]:
    """Return each file's checksum; only what the ledger does not know has to be read."""
    sums = {row.path: row.crc64nvme for row in output.streamed}
    unread = []
    for file in output.files:
        row = rows.get(file.path)
        if row is not None and row.is_of(file):
            sums[file.path] = row.crc64nvme
        else:
            unread.append(file)
    return sums | {file.path: file.crc64nvme for file in digest_files(unread)}
