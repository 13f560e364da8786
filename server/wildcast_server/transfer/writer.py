"""A file that is written piece by piece straight into an object store."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from wildcast_server.domain.sink import OutputFile
from wildcast_server.errors import MultipartError
from wildcast_server.transfer.parts import optimal_part_size
from wildcast_server.transfer.streamed import Streamed

MAX_PARTS = 10_000
"""As many as an upload may have (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""

MAX_OPEN_FILES = 16
"""How many files a run may stream at a time."""


class BufferedWriter(OutputFile):
    """Collects what is written, however small the pieces, into parts that a store takes, and sends them on the way.

    A file of at most one part is a single request when it is closed. A longer one is a multipart upload, in a thread,
    from the moment that its second part begins. All parts but the last have the same size, for some stores take no
    others, so a file whose length is not known before ends at 10,000 of them.

    With ``p`` for its part size and ``n`` for the parts that it may have in flight, a file holds at most
    ``(n + 2) * p`` bytes: the part that is being filled, and as many as `ObjectStore.put_parts` holds. Over all open
    files together ``n`` adds up to no more than ``slots + 16``, so they hold at most ``(slots + 3 * 16) * p``, and a
    single one ``10 * p``; ``p`` is `Streamed.part_size` up to a `size_hint` of 9,000 parts.

    Parameters
    ----------
    path
        Relative to the publication.
    streamed
        Where to.
    on_end
        As `OutputFile` has it.
    if_absent
        Whether closing fails if there is such an object.
    size_hint
        How long the file will be, in bytes, or more.
    """

    def __init__(
        self,
        path: str,
        streamed: Streamed,
        on_end: Callable[[str], None],
        *,
        if_absent: bool = False,
        size_hint: int | None = None,
    ) -> None:
        super().__init__(path, on_end)
        self._streamed = streamed
        self._if_absent = if_absent
        self._part_size = optimal_part_size(size_hint or 0, streamed.part_size)
        self._sums = streamed.sums()
        self._buffer = io.BytesIO()
        self._parts = 0
        self._upload: _Upload | None = None
        self._share = ExitStack()

    def _append(self, view: memoryview) -> None:
        if self._upload is not None:
            self._upload.check()
        while view:
            if self._buffer.tell() == self._part_size:
                # Not before there is more: the last part must have something in it, and one part alone is no upload.
                self._check_length()
                self._hand_over()
            room = self._part_size - self._buffer.tell()
            self._buffer.write(view[:room])
            view = view[room:]

    def _commit(self) -> None:
        if self._upload is None:
            self._streamed.put(self.name, self._buffer.getvalue(), if_absent=self._if_absent)
            return
        self._hand_over()
        etag = self._upload.finish()
        self._streamed.record(self.name, self._sums, etag, is_multipart=True)

    def _discard(self) -> None:
        if self._upload is not None:
            self._upload.abort()

    def _end(self) -> None:
        self._buffer = io.BytesIO()
        self._share.close()
        super()._end()

    def _hand_over(self) -> None:
        # The bytes change hands without being copied.
        part, self._buffer = self._buffer.getvalue(), io.BytesIO()
        self._sums.update(part)
        self._parts += 1
        if self._upload is None:
            self._upload = self._begin()
        self._upload.give(part)

    def _begin(self) -> "_Upload":
        concurrency = self._share.enter_context(self._streamed.share(self._part_size))

        def send(parts: Iterator[bytes]) -> str | None:
            return self._streamed.put_parts(
                self.name, parts, part_size=self._part_size, concurrency=concurrency, if_absent=self._if_absent
            )

        return _Upload(send, self.name)

    def _check_length(self) -> None:
        if self._parts == MAX_PARTS - 1:
            raise MultipartError(
                f"{self.name} is longer than {MAX_PARTS:,} parts of {self._part_size} bytes, and no store takes more: "
                "say how long it will be with context.open(…, size_hint=<bytes>)",
                f"{self._streamed.store.uri}/{self._streamed.key(self.name)}",
            )


class _Aborted(Exception):  # noqa: N818 - no error: it makes the store abort the upload
    pass


class _Upload:
    """A multipart upload in a thread that is given its parts one by one.

    Parameters
    ----------
    send
        Uploads the parts that it is given, and returns the ETag; if iterating raises, it aborts and raises that.
    name
        For the thread's name.
    """

    def __init__(self, send: Callable[[Iterator[bytes]], str | None], name: str) -> None:
        self._send = send
        self._part: bytes | None = None
        self._ended = self._aborted = self._over = False
        self._failure: BaseException | None = None
        self._etag: str | None = None
        self._changed = threading.Condition()
        # Not one that the interpreter's end waits for: a store that hangs must not keep a process alive.
        self._thread = threading.Thread(target=self._run, name=f"upload {name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what the upload has failed with, if it has."""
        if self._failure is not None:
            raise self._failure

    def give(self, part: bytes) -> None:
        """Hand over the next part, and wait until the upload has taken it; raises as `check` does."""
        with self._changed:
            self._part = part
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._part is None or self._over)
        self.check()

    def finish(self) -> str | None:
        """Wait until the store has acknowledged everything; return the ETag. Raises as `check` does."""
        self._stop()
        self.check()
        return self._etag

    def abort(self) -> None:
        """Have the store forget the parts, and wait for that. If it does not, the publisher sweeps them up later."""
        self._aborted = True
        self._stop()

    def _stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._etag = self._send(self._parts())
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that writes
            self._failure = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _parts(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._part is not None or self._ended)
                if self._aborted:
                    raise _Aborted
                if self._part is None:
                    return
                part, self._part = self._part, None
                self._changed.notify_all()
            yield part
