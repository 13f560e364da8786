"""The errors for files that are not there, or are not what they were."""

import re

from wildcast._errors import MissingFileError, NotAFileError, PendingFileError, StaleObjectError, shown

_CHUNK = re.compile(r"(?:.*/)?(?:\d+(?:\.\d+)*|c)", re.ASCII | re.DOTALL)


class UnlistedWarning(UserWarning):
    """Nothing says which files there are, so a file that the store has lost reads as one that was never written."""


def is_chunk(key: str) -> bool:
    """Whether a file is called as zarr calls its chunks and shards, of which a missing one is a gap."""
    return _CHUNK.fullmatch(key) is not None


def missing(key: str) -> MissingFileError:
    """Return the error for a file that was never written."""
    return MissingFileError(MissingFileError.advised(f"There is no {shown(key)} in this result"))


def not_a_file(key: str) -> NotAFileError:
    """Return the error for a directory; `key` is empty for the publication itself."""
    what = shown(key) if key else "The result itself"
    return NotAFileError(NotAFileError.advised(f"{what} is a directory, and not a file"))


def pending(key: str) -> PendingFileError:
    """Return the error for a file that an execution may still write."""
    return PendingFileError(
        f"{shown(key)} is not there so far, and the execution still runs: nobody can say what it will hold. Ask for "
        "the partial result again later, or with fill_missing=True for fill values in the place of what is not there."
    )


def replaced(key: str) -> StaleObjectError:
    """Return the error for a file that is another one than when it was opened."""
    return StaleObjectError(f"{shown(key)} has been replaced since it was opened or first read; open it again.")
