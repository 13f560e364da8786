"""The sets of files that are published."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
BLOCK = bytes(range(256)) * 4096


@dataclass(frozen=True)
class Work:
    """Files of one size."""

    name: str
    files: int
    size: int
    """Of each, in bytes."""

    @property
    def bytes(self) -> int:
        """Of all together."""
        return self.files * self.size

    def make(self, directory: Path) -> Path:
        """Write the files below `directory`, unless they are there, and read them once; return where they are."""
        path = directory / f"work{self.name}"
        path.mkdir(exist_ok=True)
        for number in range(self.files):
            file = path / f"{number:05}"
            if not file.exists() or file.stat().st_size != self.size:
                _write(file, self.size)
            _read(file)
        if len(found := list(path.iterdir())) != self.files:
            raise SystemExit(f"{path} has {len(found)} files instead of {self.files}: give --works another directory")
        return path

    def __str__(self) -> str:
        size = f"{self.size // MB} MB" if self.size >= MB else f"{self.size // 1000} kB"
        return f"{self.name}: {self.files:,} files of {size}"


A = Work("A", 4_000, 100_000)
B = Work("B", 2, 512_000_000)


@contextmanager
def places(works: Path | None) -> Iterator[tuple[Path, Path]]:
    """Give where works are, a temporary directory by default, and a home for the clients."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir()
        yield works or Path(name), home


def sparse(directory: Path, name: str, size: int) -> Path:
    """Make a directory with one file that is a hole; return the directory."""
    path = directory / name
    path.mkdir(exist_ok=True)
    with (path / "sparse").open("wb") as file:
        file.truncate(size)
    return path


def _write(file: Path, size: int) -> None:
    with file.open("wb") as opened:
        left = size
        while left:
            left -= opened.write(BLOCK[: min(left, len(BLOCK))])


def _read(file: Path) -> None:
    """Bring a file into the page cache."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        while os.read(descriptor, 1 << 20):
            pass
    finally:
        os.close(descriptor)
