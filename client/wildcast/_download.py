"""Where a download may be written: below the directory that was named, and nowhere else."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from wildcast._errors import UnsafePathError
from wildcast.contract.naming import InvalidPathError, check_key


class Destination:
    """A directory that files of a publication are written below.

    Parameters
    ----------
    directory
        Created if it is missing; may itself be a link.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.root = directory.resolve()
        self._made = {self.root}

    def target(self, path: str) -> Path:
        """Return where `path` goes, with the directories above it created.

        Raises
        ------
        UnsafePathError
            If `path` is absolute, leaves the directory, has a drive letter, or runs through a link out of the
            directory.
        """
        check_portable(path)
        *parents, name = PurePosixPath(path).parts
        target = self.root
        for part in parents:
            target /= part
            if target not in self._made:
                self._make(target)
        return target / name

    def _make(self, directory: Path) -> None:
        # Looked at before it is made: making it would follow the link.
        if directory.is_symlink() and not directory.resolve().is_relative_to(self.root):
            raise UnsafePathError(
                f"{directory} is a link that leads out of {self.root}; remove it, or download elsewhere."
            )
        directory.mkdir(exist_ok=True)
        self._made.add(directory)


def target_below(directory: Path, path: str) -> Path:
    """Return where `path` goes below `directory`, with the directories above it created.

    Raises
    ------
    UnsafePathError
        As `Destination.target` says; nothing is created then.
    """
    check_portable(path)
    return Destination(directory).target(path)


def check_portable(path: str) -> None:
    """Refuse a path that any system would write elsewhere than below a directory.

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
