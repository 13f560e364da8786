"""Where a download may be written: below the directory that was named, and nowhere else."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from wildcast._errors import UnsafePathError
from wildcast._portable import check_apart, check_portable


class Destination:
    """A directory that files of a publication are written below.

    Parameters
    ----------
    directory
        Created if it is missing; may itself be a link.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise FileExistsError(
                f"{directory} cannot be a directory: it is a file, or lies below one; download elsewhere."
            ) from None
        self.root = directory.resolve()
        self._made = {self.root}

    def target(self, path: str) -> Path:
        """Return where `path` goes, with the directories above it created.

        Raises
        ------
        UnsafePathError
            If `path` is absolute, leaves the directory, has a drive letter, or runs through a link out of the
            directory.
        FileExistsError
            If a file is where one of the directories is to be.
        """
        check_portable(path)
        *parents, name = PurePosixPath(path).parts
        target = self.root
        for part in parents:
            target /= part
            if target not in self._made:
                self._make(target)
        return target / name

    def check_apart(self, paths: Collection[str]) -> None:
        """Hold that each of these paths is a file of its own here.

        Raises
        ------
        UnsafePathError
            If one would overwrite another, because case or the form of an accent are nothing to the file system.
        """
        check_apart(paths, self._identify)

    def _identify(self, names: Collection[str]) -> dict[str, int]:
        # Tried out, because it is the disk's business and not the system's: a Mac's may tell them apart, and a memory
        # stick in Linux not.
        with TemporaryDirectory(prefix=".wildcast-", dir=self.root) as directory:
            return {name: _made(Path(directory, name)) for name in names}

    def _make(self, directory: Path) -> None:
        # Looked at before it is made: making it would follow the link.
        if directory.is_symlink() and not directory.resolve().is_relative_to(self.root):
            raise UnsafePathError(
                f"{directory} is a link that leads out of {self.root}; remove it, or download elsewhere."
            )
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError:
            raise FileExistsError(
                f"{directory} is a file, and the result has a directory of that name; move it away, or download "
                "elsewhere."
            ) from None
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


def check_no_directory(target: Path) -> None:
    """Hold that no directory is where a file is to be.

    Raises
    ------
    FileExistsError
        If one is.
    """
    if target.is_dir() and not target.is_symlink():
        # No IsADirectoryError: zarr, below which files are copied too, takes that for a gap.
        raise FileExistsError(
            f"{target} is a directory, and the result has a file of that name; move it away, or download elsewhere."
        )


def _made(path: Path) -> int:
    path.touch()
    return path.stat().st_ino
