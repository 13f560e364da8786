"""Streaming a run's output into the object store: the sink that the runner's process makes."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from wildcast.contract.naming import is_metadata
from wildcast_server.domain.sink import DirectorySink, OpenFiles, OutputFile, OutputSink
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer.mark import StreamMark, write_mark
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE
from wildcast_server.transfer.streamed import SLOTS, Streamed
from wildcast_server.transfer.writer import MAX_OPEN_FILES, BufferedWriter

if TYPE_CHECKING:
    from zarr.abc.store import Store


class StreamingSink(OutputSink):
    """Streams files and chunks into a store; zarr's metadata stays in the output directory, to go up last.

    Parameters
    ----------
    directory
        The output directory.
    streamed
        Where to.
    """

    def __init__(self, directory: Path, streamed: Streamed) -> None:
        self._directory = directory
        self._streamed = streamed
        self._files = OpenFiles(MAX_OPEN_FILES)
        self._documents = DirectorySink(directory)
        self._is_marked = False
        self._lock = Lock()

    def open(self, path: str, *, if_absent: bool = False, size_hint: int | None = None) -> OutputFile:
        """Begin a file."""
        if is_metadata(path):
            return self._documents.open(path, if_absent=if_absent)
        self._files.check_running()
        if (self._directory / path).exists():
            raise FileExistsError(
                f"{path} is in the output directory already: write it there or with context.open, and not both"
            )
        if if_absent and self._streamed.size(path) is not None:
            raise FileExistsError(f"{path} is there already, and if_absent=True forbids to replace it")

        self._set_mark()

        def make(on_end: "Any") -> OutputFile:
            return BufferedWriter(path, self._streamed, on_end, if_absent=if_absent, size_hint=size_hint)

        return self._files.add(path, make)

    def zarr_store(self, path: str) -> "Store":
        """Return a store whose chunks go to the object store."""
        from wildcast_server.transfer.zarr_stream import StreamedStore

        self._files.check_running()
        for file in _files_below(self._directory / path):
            if not is_metadata(file.name):
                raise FileExistsError(
                    f"{file.relative_to(self._directory)} is in the output directory already: "
                    "write a zarr store there or with context.zarr_store, and not both"
                )
        self._set_mark()
        return StreamedStore(self._streamed, path, self._directory / path)

    def finish(self) -> None:
        """Take note of the run's end."""
        self._files.finish()
        self._documents.finish()
        self._streamed.close()
        if self._is_marked:
            # Only now the output directory can be published.
            write_mark(self._directory, StreamMark.of(self._streamed.prefix, self._streamed.recorded()))

    def abort(self) -> None:
        """Abort what is open."""
        self._files.abort()
        self._documents.abort()
        self._streamed.close()

    def _set_mark(self) -> None:
        """Before anything is streamed, have the output directory say so."""
        with self._lock:
            if not self._is_marked:
                write_mark(self._directory, StreamMark(self._streamed.prefix))
                self._is_marked = True


def open_sink(
    directory: Path,
    *,
    store: str,
    options: dict[str, Any],
    prefix: str,
    ledger: str,
    slots: int = SLOTS,
    part_size: int = DEFAULT_PART_SIZE,
) -> StreamingSink:
    """Make the sink of a run in the runner's process; nothing is sent yet.

    Parameters
    ----------
    directory
        The output directory.
    store
        The store's URI.
    options
        As `plain_options` made them.
    prefix
        Of the publication.
    ledger
        The path of the ledger of what was streamed.
    slots, part_size
        As `Streamed` has them.

    Raises
    ------
    InvalidUriError
        If the store cannot be opened.
    """
    opened = open_store(store, options_of(options))
    return StreamingSink(directory, Streamed(opened, prefix, Path(ledger), slots=slots, part_size=part_size))


def plain_options(options: StoreOptions) -> dict[str, Any]:
    """Return store options as JSON values, secrets included."""
    plain: dict[str, Any] = msgspec.to_builtins(options, enc_hook=str)
    return plain


def options_of(plain: dict[str, Any]) -> StoreOptions:
    """Return the store options that `plain_options` made these values of."""
    return msgspec.convert(plain, StoreOptions, dec_hook=lambda kind, value: kind(value))


def _files_below(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if not path.is_dir())
