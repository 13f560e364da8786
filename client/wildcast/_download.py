"""Where a download may be written: below the directory that was named, and nowhere else."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from wildcast._errors import UnsafePathError
from wildcast.contract.naming import InvalidPathError, check_key


def target_below(directory: Path, path: str) -> Path:
    """Return where `path` goes below `directory`, with the directories above it created.

    Parameters
    ----------
    directory
        Created if it is missing; may itself be a link.
    path
        A file's path in a publication.

    Raises
    ------
    UnsafePathError
        If `path` is absolute, leaves the directory, has a drive letter, or runs through a link out of the directory.
    """
    _check_portable(path)
    directory.mkdir(parents=True, exist_ok=True)
    root = directory.resolve()
    target = root
    for part in PurePosixPath(path).parts[:-1]:
        target /= part
        # Looked at before it is made: making it would follow the link.
        if target.is_symlink() and not target.resolve().is_relative_to(root):
            raise UnsafePathError(f"{target} is a link that leads out of {root}; remove it, or download elsewhere.")
        target.mkdir(exist_ok=True)
    return target / PurePosixPath(path).name


def _check_portable(path: str) -> None:
    windows = PureWindowsPath(path)
    try:
        check_key(path)
    except InvalidPathError as error:
        raise UnsafePathError(f"{path!r} cannot be downloaded: {error}") from None
    # As Windows would read it, on every system: what is refused must not depend on where it is refused.
    if windows.drive or windows.root or ".." in windows.parts:
        raise UnsafePathError(f"{path!r} would be written outside the directory on some systems.")
