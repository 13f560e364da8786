"""Removing what nothing refers to any more: directories of this machine, and multipart uploads that nobody ended."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from wildcast.contract.manifest import ManifestError
from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StorageType
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import AccessDeniedError, StoreError, UnknownExecutionError, UnsupportedError
from wildcast_server.records import Records
from wildcast_server.store import ObjectStore
from wildcast_server.store.base import UnfinishedUpload
from wildcast_server.usecases.directories import REMOVED_PATH, remove_directory

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(exec_[0-9]{1,12}_[0-9a-f]{8})(-[0-9]+)?")

_MARK = re.compile(rf"\.({_NAME.pattern})\.(computed|clock|[0-9]+\.(begun|taken))")
"""A file beside an output directory, of `Marks` or of live publishing."""

_WITHOUT_OUTPUT = (ExecutionStatus.CANCELLED, ExecutionStatus.EXPIRED)


@dataclass(frozen=True)
class Orphan:
    """Something that nothing refers to.

    Parameters
    ----------
    what
        A directory, a small file beside one, or an upload in the store.
    why
        In a few words; where it is not ours to remove, why it is not.
    is_ours
        Whether it may be removed. What these records know nothing of may belong to another server.
    """

    what: Path | UnfinishedUpload
    why: str
    is_ours: bool

    def __str__(self) -> str:
        if isinstance(self.what, Path):
            return f"the {'file' if _MARK.fullmatch(self.what.name) else 'directory'} {self.what}: {self.why}"
        return f"a multipart upload of {self.what.key}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Remove orphans of a certain age.

    Parameters
    ----------
    stores
        Where the publications of each storage type lie.
    prefix
        What every publication's prefix begins with; nothing else is looked at.
    output_root
        Where this machine has output directories.
    after_seconds
        How old an orphan must be.
    """

    records: Records
    stores: Mapping[StorageType, ObjectStore]
    output_root: Path
    after_seconds: int
    prefix: str = ""
    clock: Callable[[], datetime] = utc_now

    def __call__(self) -> int:
        """Remove what is ours; return how much that was. What is not is reported."""
        removed = 0
        for orphan in self.find():
            if not orphan.is_ours:
                logger.warning("%s", orphan)
            elif self._remove(orphan):
                removed += 1
        return removed

    def find(self) -> Iterator[Orphan]:
        """Look for orphans; nothing is changed."""
        known = cache(self._look_up)
        yield from self._directories(known)
        yield from self._uploads(known)

    def _remove(self, orphan: Orphan) -> bool:
        try:
            if isinstance(orphan.what, Path) and _MARK.fullmatch(orphan.what.name):
                orphan.what.unlink(missing_ok=True)
            elif isinstance(orphan.what, Path):
                remove_directory(orphan.what)
            else:
                self.stores["s3"].abort_upload(orphan.what)
        except (OSError, StoreError, ManifestError) as error:
            logger.warning("%s; it could not be removed: %s", orphan, error)
            return False
        logger.info("removed %s", orphan)
        return True

    def _look_up(self, execution_id: str) -> Execution | None:
        try:
            return self.records.get(execution_id, deleted=True)
        except UnknownExecutionError:
            return None

    @property
    def _oldest(self) -> datetime:
        return self.clock() - timedelta(seconds=self.after_seconds)

    def _directories(self, known: Callable[[str], Execution | None]) -> Iterator[Orphan]:
        try:
            paths = sorted(self.output_root.iterdir())
        except OSError:
            return
        for path in paths:
            named = _NAME.fullmatch(path.name)
            if named is not None and self._is_old_directory(path):
                yield from _judge_directory(path, known(named[1]))
            elif (mark := _MARK.fullmatch(path.name)) is not None and self._is_old_file(path):
                yield from self._judge_mark(path, mark[1], known(mark[2]))

    def _judge_mark(self, path: Path, name: str, execution: Execution | None) -> Iterator[Orphan]:
        """Judge a file beside a directory that is not there."""
        is_over = execution is None or execution.status.is_final or _is_left(name, execution)
        if is_over and not (self.output_root / name).exists():
            yield Orphan(path, "its directory is gone", is_ours=True)

    def _is_old_file(self, path: Path) -> bool:
        try:
            return path.is_file() and datetime.fromtimestamp(path.lstat().st_mtime, UTC) < self._oldest
        except OSError:
            return False

    def _is_old_directory(self, path: Path) -> bool:
        try:
            is_old = datetime.fromtimestamp(path.lstat().st_mtime, UTC) < self._oldest
            return is_old and path.is_dir() and not path.is_symlink() and not (path / REMOVED_PATH).exists()
        except OSError:
            return False

    def _uploads(self, known: Callable[[str], Execution | None]) -> Iterator[Orphan]:
        store = self.stores.get("s3")
        if store is None:
            return
        try:
            uploads = list(store.unfinished_uploads(self.prefix))
        except (AccessDeniedError, UnsupportedError) as error:
            # Rights of their own, which whoever may write objects need not have.
            logger.warning("multipart uploads below %r cannot be listed: %s", self.prefix, error)
            return
        for upload in uploads:
            if upload.initiated is not None and upload.initiated < self._oldest:
                yield from self._judge_upload(upload, known)

    def _judge_upload(self, upload: UnfinishedUpload, known: Callable[[str], Execution | None]) -> Iterator[Orphan]:
        named = _NAME.fullmatch(upload.key[len(self.prefix) :].strip("/").partition("/")[0])
        execution = None if named is None else known(named[1])
        if execution is None:
            yield Orphan(upload, "no execution that these records know began it, so it is left alone", is_ours=False)
        elif execution.status.is_final:
            yield Orphan(upload, f"{execution.id} is {execution.status}, and nobody ended it", is_ours=True)


def _judge_directory(path: Path, execution: Execution | None) -> Iterator[Orphan]:
    if execution is not None:
        if execution.status in _WITHOUT_OUTPUT or execution.deleted_at is not None:
            yield Orphan(path, f"{execution.id} is {execution.status}, and has none any more", is_ours=True)
        elif _is_left(path.name, execution):
            yield Orphan(path, f"{execution.id} has gone on at another place since", is_ours=True)
    elif (path / MANIFEST_PATH).exists():
        # The only copy of a result, perhaps, whose records are elsewhere or were restored from a backup.
        yield Orphan(path, "no record knows the result that it holds, so it is left alone", is_ours=False)
    else:
        yield Orphan(path, "no record knows its execution", is_ours=True)


def _is_left(name: str, execution: Execution) -> bool:
    """Whether it is one of the places before that at which the execution is now, and nothing is published there."""
    earlier = [execution.with_changes(place=place).name for place in range(1, execution.place)]
    published = execution.published
    return name in earlier and (published is None or published.publication.prefix != name)
