"""Which paths of a publication may be files of their own, on this system and below a directory on any."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from pathlib import PurePath, PureWindowsPath

from wildcast._errors import UnsafePathError
from wildcast.contract.naming import InvalidPathError, check_key

_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}).union(
    f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"
)
"""Names that are devices in every directory, with any ending (Microsoft, "Naming Files, Paths, and Namespaces")."""


def check_portable(path: str, *, is_windows: bool = os.name == "nt") -> None:
    """Refuse a path that any system would write elsewhere than below a directory, or that this one has no file for.

    Raises
    ------
    UnsafePathError
        If it is such a one.
    """
    windows = PureWindowsPath(path)
    try:
        check_key(path)
    except InvalidPathError as error:
        raise UnsafePathError(f"{path!r} cannot be downloaded: {error}") from None
    # As Windows would read it, on every system: what is refused must not depend on where it is refused.
    if windows.drive or windows.root or ".." in windows.parts:
        raise UnsafePathError(f"{path!r} would be written outside the directory on some systems.")
    # That others can write it is no reason not to, there.
    if is_windows and not all(map(_is_file_on_windows, windows.parts)):
        raise UnsafePathError(
            f"{path!r} cannot be downloaded on Windows, which takes it for a device, a stream or another file."
        )


def _is_file_on_windows(name: str) -> bool:
    return ":" not in name and name[-1] not in ". " and name.partition(".")[0].rstrip(" ").upper() not in _DEVICES


def check_apart(paths: Collection[str], identify: Callable[[Collection[str]], Mapping[str, Hashable]]) -> None:
    """Refuse paths of which one would overwrite another.

    Parameters
    ----------
    paths
        Those that are to be files at the same time.
    identify
        Says which names are the same file in one directory: those of the same value. Asked only about names of which
        there are several that differ in case, or in the form of an accent, alone.

    Raises
    ------
    UnsafePathError
        If two of them are one file.
    """
    if len({_folded(path) for path in paths}) == len(paths):
        return
    alike = [path for group in _grouped(paths) for path in group]
    for path in alike:
        check_portable(path)
    spelt = _grouped({name for path in alike for name in PurePath(path).parts})
    identities = identify([name for group in spelt for name in group])
    seen: dict[tuple[Hashable, ...], str] = {}
    for path in alike:
        other = seen.setdefault(tuple(identities.get(name, name) for name in PurePath(path).parts), path)
        if other is not path:
            raise UnsafePathError(
                f"{other!r} and {path!r} would be one file here; download elsewhere, or one of them alone by its name."
            )


def _grouped(texts: Iterable[str]) -> list[list[str]]:
    """Return those together that some file system takes for one, where there are several."""
    groups = defaultdict(list)
    for text in texts:
        groups[_folded(text)].append(text)
    return [group for group in groups.values() if len(group) > 1]


def _folded(path: str) -> str:
    """Return what is the same for all texts that some file system takes for one."""
    if path.isascii():
        return os.path.normcase(path.lower())
    return os.path.normcase(unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold()))
