"""Where the ledgers of publications lie, and what is kept in them while one is made."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from wildcast_server.failpoints import VARIABLE, reached
from wildcast_server.transfer.files import LocalFile, StoredFile
from wildcast_server.transfer.ledger import Ledger, LedgerRow, read_ledger

_log = logging.getLogger(__name__)

WRITE_EVERY = 0.05
"""Seconds for which acknowledgements are gathered, so that one write does for many."""

_RECORDED = "upload.recorded"


@dataclass(frozen=True)
class Ledgers:
    """Names the ledgers' files.

    Parameters
    ----------
    directory
        Of all of them; None where nothing is to be kept on disk.
    uri
        Of the store.
    """

    directory: Path | None
    uri: str

    def uploaded(self, prefix: str) -> Path | None:
        """Return the ledger of what was uploaded from disk below `prefix`.

        Its rows name the very file that was read, so they hold in whichever attempt.
        """
        return self._file(prefix, "uploaded")

    def streamed(self, prefix: str, attempt: int) -> Path | None:
        """Return the ledger of what one attempt's workflow wrote into the store itself."""
        return self._file(prefix, f"{attempt}.streamed")

    def last_streamed(self, prefix: str) -> Path | None:
        """Return that ledger of whichever attempt left one, the latest of several; None if none did."""
        named = self._file(prefix, "*.streamed")
        found = [] if named is None else named.parent.glob(named.name)
        return max(found, key=lambda path: int(path.name.split(".")[1]), default=None)

    def _file(self, prefix: str, kind: str) -> Path | None:
        if self.directory is None:
            return None
        named = hashlib.sha256(f"{self.uri}/{prefix}".encode()).hexdigest()[:32]
        return self.directory / f"{named}.{kind}"


class Acknowledged:
    """What the store has acknowledged below one prefix: in memory, and on disk for whoever comes after a kill.

    A disk that takes no ledger stops no publication: then there is none, and one warning.

    Parameters
    ----------
    path
        The ledger; None for none.
    clock
        Tells seconds.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.rows: dict[str, LedgerRow] = {}
        """By path, what was acknowledged in this process."""
        self._ledger: Ledger | None = None
        self._lock = Lock()
        self._unwritten: list[LedgerRow] = []
        self._clock, self._wrote = clock, -WRITE_EVERY
        # Looked up once: tests alone arm a place.
        self._is_armed = os.environ.get(VARIABLE, "").startswith(_RECORDED)

    @property
    def is_on_disk(self) -> bool:
        """Whether a publication has begun here, and not come to its end."""
        return self.path is not None and self.path.exists()

    def read(self) -> dict[str, LedgerRow]:
        """Return what an earlier process wrote."""
        try:
            return {} if self.path is None else read_ledger(self.path)
        except OSError as error:
            _log.warning("the ledger %s cannot be read, and files are sent again: %s", self.path, error)
            return {}

    def open(self) -> None:
        """Begin to write; the file alone tells whoever comes next that something was begun."""
        if self.path is None or self._ledger is not None:
            return
        try:
            self._ledger = Ledger(self.path)
        except OSError as error:
            self._do_without(error)

    def add(self, local: LocalFile, stored: StoredFile) -> None:
        """Note a file that the store has acknowledged; threads may call it.

        A large file is written down at once, others with what is acknowledged after `WRITE_EVERY`, or by `write`. A
        kill in between costs no more than a look at the listing, or the small files of that moment once more.
        """
        row = LedgerRow.of(stored, local)
        with self._lock:
            self.rows[row.path] = row
            if self._ledger is not None:
                self._unwritten.append(row)
        if stored.is_multipart or self._is_armed or self._clock() - self._wrote >= WRITE_EVERY:
            self.write()
        if self._is_armed:
            reached(_RECORDED)

    def write(self) -> None:
        """Write what has been noted since the last time."""
        with self._lock:
            self._wrote = self._clock()
            ledger, rows, self._unwritten = self._ledger, self._unwritten, []
            if ledger is None or not rows:
                return
            try:
                ledger.add(*rows)
            except OSError as error:
                failure = error
            else:
                return
        self._do_without(failure)

    def forget(self, paths: Iterable[str]) -> None:
        """Note that the store does not hold these files after all."""
        self.write()
        if self._ledger is None:
            # What it has is not to be believed any more, and nothing can be added to it.
            remove(self.path)
        for path in paths:
            self.rows.pop(path, None)
            if self._ledger is not None:
                try:
                    self._ledger.add(LedgerRow.gone(path))
                except OSError:
                    # Better to send everything again than to believe what is wrong.
                    self.remove()

    def close(self) -> None:
        """Write no more. Idempotent."""
        self.write()
        with self._lock:
            ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    def remove(self) -> None:
        """Forget everything, on disk too."""
        self.close()
        self.rows.clear()
        remove(self.path)

    def _do_without(self, error: Exception) -> None:
        first = self._ledger is not None or not self.rows
        self.close()
        if first:
            _log.warning(
                "the ledger %s cannot be written, so an interruption would cost the uploads so far: %s",
                self.path,
                error,
            )


def remove(path: Path | None) -> None:
    """Remove a ledger, if there is one."""
    if path is not None:
        with suppress(OSError):
            path.unlink()
