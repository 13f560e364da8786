"""The disk under downloads: no event loop waits for it, and nothing is written behind the back of whoever has gone."""

import asyncio
import io
import subprocess
import sys
import threading

import pytest

from wildcast._disk import Writer, in_thread
from wildcast._parts import PART

BIG = bytes(range(256)) * (PART // 128)


class SlowFile(io.BytesIO):
    """A file that takes bytes only once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.writes = threading.Event(), threading.Event()

    def write(self, data):
        self.writes.set()
        assert self.gate.wait(20), "nobody could open the gate meanwhile"
        return super().write(data)


def test_a_loop_goes_on_while_a_disk_is_slow():
    """What opens the gate runs in the very loop whose download is written; the next block may come meanwhile."""
    file, told = SlowFile(), []

    async def both():
        writer = Writer(lambda: file, told.append)
        await writer.write([b"some", b"thing"])
        await asyncio.to_thread(file.writes.wait, 20)
        assert (file.getvalue(), told) == (b"", [])
        file.gate.set()
        await writer.write([b"!"])
        await writer.settle()
        return writer

    writer = asyncio.run(both())
    assert (file.getvalue(), writer.written, told) == (b"something!", 10, [9, 1])


def test_who_is_cancelled_leaves_after_the_last_write():
    """So that a file may be closed, or given to others, as soon as its download has ended."""
    file, told = SlowFile(), []

    async def write():
        writer = Writer(lambda: file, told.append)
        await writer.write([b"late"])
        await writer.settle()

    async def cancelled():
        writing = asyncio.create_task(write())
        await asyncio.to_thread(file.writes.wait, 20)
        for _ in range(3):
            writing.cancel()
            await asyncio.sleep(0.01)
        assert not writing.done()
        file.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await writing

    asyncio.run(cancelled())
    assert (file.getvalue(), told) == (b"late", [4])


def test_what_fails_in_a_thread_fails_for_its_caller():
    """With the very error."""

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(in_thread(full))


CHILD = """
import asyncio, pathlib, sys, threading
import wildcast
from wildcast._downloading import Download
from wildcast._progress import DownloadBar

fs, dest = wildcast.SignedFileSystem({url!r}), {dest!r}
seen = set()

def notice(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.truncate") and str(arguments[0]).startswith(dest):
        seen.add((event, threading.current_thread() is threading.main_thread()))

async def main():
    sys.addaudithook(notice)
    await Download(fs._reader, DownloadBar("x", False)).run(pathlib.Path(dest), None)
    await fs._reader.download("big.bin", pathlib.Path(dest) / "copy")

asyncio.run(main())
print(sorted(seen))
"""


def test_files_are_opened_and_renamed_in_threads(cdn, tmp_path):
    """Large files in parts, small ones and streams: nothing of it is done in the loop's own thread."""
    cdn.publish(**{"big.bin": BIG, "small": b"small"})
    code = CHILD.format(url=cdn.signed(), dest=str(tmp_path))
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str([("open", False), ("os.remove", False), ("os.rename", False)])
    assert {path.name for path in tmp_path.iterdir()} == {"big.bin", "small", "copy"}
