"""What fsspec calls files, and the keys in a publication that are meant by it."""

import hashlib
import os
from pathlib import Path
from typing import Any

from wildcast._absent import not_a_file
from wildcast._errors import InvalidUrlError, MissingFileError, ReadError, harmless, shown
from wildcast._listing import Entry, is_below
from wildcast._sources import UrlSource
from wildcast.contract.naming import InvalidPathError, check_key


def key_of(path: str, label: str) -> str:
    """Return a path relative to the publication, which itself is ``""``.

    Parameters
    ----------
    path
        Without a protocol, ``<path>`` or ``<label>/<path>``.
    label
        The publication's name, as its URLs have it.

    Raises
    ------
    MissingFileError
        If no file of any publication can have that name.
    """
    key = path.strip("/")
    if is_below(key, label):
        key = key[len(label) + 1 :]
    try:
        return check_key(key) if key else key
    except InvalidPathError as error:
        raise MissingFileError(f"{error}, so no result has such a file.") from None


def file_key_of(path: str, label: str) -> str:
    """Return the key of a file; raises as `key_of`, and a `NotAFileError` for the publication itself."""
    key = key_of(path, label)
    if not key:
        raise not_a_file(key)
    return key


def path_of(key: str, label: str) -> str:
    """Return a path by which `key_of` finds a key; what is called as the publication is in it once more."""
    return f"{label}/{key}" if is_below(key, label) else key


def describe(entry: Entry, asked: str, label: str) -> dict[str, Any]:
    """Return what fsspec says about a file or directory; `asked` is the path, without a protocol, that it was asked by.

    The name begins as `asked` does: whoever asks cuts that off, and gives the name back for the file.
    """
    name = entry.path
    # What is called as the publication would otherwise be taken for the publication, if its name is given back.
    if is_below(asked.strip("/"), label) or is_below(name, label):
        name = f"{label}/{name}".rstrip("/")
    kind = "directory" if entry.size is None else "file"
    told = {"ETag": entry.etag} if entry.etag else {}
    return {"name": f"/{name}" if asked.startswith("/") else name, "size": entry.size or 0, "type": kind, **told}


def is_cached(path: str, target: Path) -> bool:
    """Whether `target` is in a cache of fsspec's: such a one names its copies by the path alone."""
    return target.name == hashlib.sha256(path.encode()).hexdigest()


def check_named(path: str, source: UrlSource, *, is_partial: bool) -> None:
    """Hold that a file can be known by its path, also beside those of other results.

    Raises
    ------
    InvalidUrlError
        If that does not begin with the publication's name.
    ReadError
        If the publication is partial, so that files may change.
    """
    if is_partial:
        raise ReadError(
            f"{shown(path)} is of an execution that still runs: a cache would keep metadata that change until it ends."
        )
    if not is_below(path.strip("/"), source.label):
        raise InvalidUrlError(
            f"A cache would not know of which result {shown(path)} is: say so in its URL, "
            f"{url_of(harmless(path.strip('/')), source.label)!r}, as Result.url gives it."
        )


def url_of(key: str, label: str) -> str:
    """Return the URL of a file or directory, in which the publication has a name."""
    return f"wildcast://{label}/{key}".rstrip("/")


def place_of(path: str, target: str) -> str:
    """Return where a copy of a file goes: below `target` if that is a directory, or ends as one."""
    is_directory = target.endswith(("/", os.sep)) or Path(target).is_dir()
    return f"{target}/{path.rpartition('/')[2]}" if is_directory else target
