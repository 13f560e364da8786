"""Starting children within milliseconds: a process that has imported everything, and forks.

``python -m wildcast_server.wiring.fork_server DESCRIPTOR MODULE …`` imports the modules and forks whenever it is asked
to, through a socket pair of which its parent has the other end; it ends with that. It has one thread and runs nothing
else, so that what it forks is whole. Linux alone has what this needs; elsewhere children are started as programs.
"""

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

import msgspec

from wildcast_server.wiring.hand_over import HandOver, receive

UNKNOWN = 255
"""The exit code of a process that outlived who forked it: nobody knows it."""

_MOST_DESCRIPTORS = 32
_LONGEST = 64
"""Bytes of a packet: requests are in memory files, however large the environment is."""

_ASK, _GO, _READY = b"?", b"!", b"ready"
_PATIENCE_SECONDS = 60.0
_STOPS = (signal.SIGTERM, signal.SIGINT)
_STATUS_BYTES = 4
_NAME_BYTES = 15
"""Of a process' name (proc(5), "comm")."""


class ForkServerError(OSError):
    """The process that forks could not begin, or does not answer."""


class Request(msgspec.Struct, frozen=True):
    """What a forked process begins with."""

    role: str
    environ: dict[bytes, bytes]
    directory: bytes
    numbers: tuple[int, ...]
    """The descriptors as the parent numbers them; what it hands over calls them so."""

    def __repr__(self) -> str:
        # The environment may hold secrets.
        return f"Request(role={self.role!r}, numbers={self.numbers!r})"


class Forked:
    """A forked process, with the methods of `subprocess.Popen`; it is a child of who forked it, and not of ours.

    Parameters
    ----------
    pid
        Its number.
    handle
        The descriptor that stands for it alone, however numbers are used again (pidfd_open(2)).
    status
        The descriptor from which its wait status can be read once it has ended.
    """

    def __init__(self, pid: int, handle: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle, self._status = handle, status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that killed it; None while it lives."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, to nobody else even if it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and _is_readable(self._handle, timeout):
                self.returncode = _code_of(os.read(self._status, _STATUS_BYTES))
                os.close(self._handle)
                os.close(self._status)
            return self.returncode


class ForkServer:
    """A process that forks, begun when it is first needed and again after its death.

    Parameters
    ----------
    modules
        What it imports.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = tuple(modules)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_ready = False

    @staticmethod
    def is_possible() -> bool:
        """Whether this system has what is needed."""
        return hasattr(os, "pidfd_open") and hasattr(socket, "SOCK_SEQPACKET")

    def begin(self) -> None:
        """Start the process, if it does not run; returns at once."""
        with self._lock:
            self._begin()

    def is_ready(self) -> bool:
        """Whether it has imported everything; raises `ForkServerError` if it has ended."""
        with self._lock:
            return self._hear(0.0)

    def fork(
        self,
        role: str,
        descriptors: Sequence[int],
        *,
        environ: Mapping[bytes, bytes] = os.environb,
        output: tuple[int, int] = (1, 2),
    ) -> Forked:
        """Fork a process that runs a role.

        Parameters
        ----------
        role
            Of `wildcast_server.wiring.child`.
        descriptors
            For the process; the first one is where it reads its `HandOver` from.
        environ
            Its environment, ours by default.
        output
            Its standard output and standard error.

        Raises
        ------
        ForkServerError, BrokenPipeError
            If there is nobody who forks.
        """
        request = Request(role, dict(environ), os.fsencode(Path.cwd()), tuple(descriptors))
        with self._lock, _in_memory(msgspec.msgpack.encode(request)) as written:
            try:
                return self._fork([written, *output, *descriptors])
            except BrokenPipeError:
                # It was killed, perhaps this moment; what it may have forked does nothing then.
                return self._fork([written, *output, *descriptors])

    def close(self) -> None:
        """End the process; what it has forked goes on."""
        with self._lock:
            self._end()

    def _fork(self, descriptors: Sequence[int]) -> Forked:
        self._begin()
        if not self._hear(_PATIENCE_SECONDS) or self._socket is None:
            raise ForkServerError("the process that forks does not answer")
        status, told = os.pipe()
        try:
            pid, handle = self._ask(self._socket, [told, *descriptors])
        except OSError as error:
            os.close(status)
            self._end()
            raise BrokenPipeError(error.errno, "the process that forks is gone") from error
        finally:
            os.close(told)
        return Forked(pid, handle, status)

    @staticmethod
    def _ask(asked: socket.socket, descriptors: Sequence[int]) -> tuple[int, int]:
        sys.stdout.flush()
        sys.stderr.flush()
        socket.send_fds(asked, [_ASK], descriptors)
        answer, handles, _, _ = socket.recv_fds(asked, _LONGEST, 1)
        if not answer or not handles:
            raise BrokenPipeError(0, "it has ended")
        return int(answer), handles[0]

    def _begin(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE_SECONDS)
        with theirs:
            command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), *self._modules]
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def _hear(self, seconds: float) -> bool:
        if self._is_ready:
            return True
        if self._socket is None or not _is_readable(self._socket.fileno(), seconds):
            return False
        with suppress(OSError):
            self._is_ready = self._socket.recv(len(_READY)) == _READY
        if not self._is_ready:
            self._end()
            raise ForkServerError("the process that forks could not begin; the log says why")
        return True

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_SECONDS if self._is_ready else 0.0)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        self._socket, self._process, self._is_ready = None, None, False


def main() -> None:
    """Import, then fork until the parent is gone; in what was forked, run its role."""
    descriptor, *modules = sys.argv[1:]
    # Who stops a whole service tells its supervisor, whose end is this process' end as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as asked:
        with _ending_with(asked):
            for module in modules:
                import_module(module)
        gc.collect()
        # Of what all of them share, nothing is to be written to.
        gc.freeze()
        forked = _Forking(asked).until_asked()
    if forked is not None:
        sys.exit(forked.run())


class _Forking:
    """The process that forks."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._statuses: dict[int, int] = {}
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wakes, False)

    def until_asked(self) -> "_Child | None":
        """Return in each process that was forked; in this one when the parent is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes)
        with suppress(BrokenPipeError):
            self._asked.send(_READY)
        asked = self._asked.fileno()
        looked = select.poll()
        for descriptor in (asked, self._woken):
            looked.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in looked.poll()}
            if self._woken in ready:
                self._reap()
            if asked in ready:
                message, descriptors, _, _ = socket.recv_fds(self._asked, _LONGEST, _MOST_DESCRIPTORS)
                if not message:
                    return None
                child = self._fork(descriptors)
                if child is not None:
                    return child

    def _fork(self, descriptors: Sequence[int]) -> "_Child | None":
        status, written, *handed = descriptors
        go, goes = os.pipe()
        # A signal that comes before the child heeds it waits until it does.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        pid = os.fork()
        if pid == 0:
            self._let_go([status, goes])
            return _Child(written, go, handed)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        for descriptor in (go, written, *handed):
            os.close(descriptor)
        self._statuses[pid] = status
        handle = os.pidfd_open(pid)
        with suppress(BrokenPipeError):
            socket.send_fds(self._asked, [str(pid).encode()], [handle])
            # Only now: of a child that nobody has heard of, nothing is to be done.
            os.write(goes, _GO)
        for descriptor in (handle, goes):
            os.close(descriptor)
        return None

    def _let_go(self, others: Sequence[int]) -> None:
        """Keep nothing that is not the forked process' own."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        self._asked.close()
        for descriptor in (*others, self._woken, self._wakes, *self._statuses.values()):
            os.close(descriptor)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, waited = ended
                told = self._statuses.pop(pid, None)
                if told is None:
                    continue
                with suppress(BrokenPipeError):
                    os.write(told, waited.to_bytes(_STATUS_BYTES, "little"))
                os.close(told)


class _Child:
    """What a forked process does."""

    def __init__(self, written: int, go: int, descriptors: Sequence[int]) -> None:
        self._written, self._go = written, go
        self._out, self._err, *self._handed = descriptors

    def run(self) -> int:
        """Become what it is to be, and do that."""
        if os.read(self._go, 1) != _GO:
            return UNKNOWN
        os.close(self._go)
        request = _read_request(self._written)
        os.setsid()
        for descriptor, number in ((self._out, 1), (self._err, 2)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environb.clear()
        os.environb.update(request.environ)
        time.tzset()
        os.chdir(request.directory)
        _call_it(f"wildcast-{request.role}")
        from wildcast_server.wiring.child import run

        return run(request.role, self._receive(dict(zip(request.numbers, self._handed, strict=True))))

    def _receive(self, here: Mapping[int, int]) -> HandOver:
        handed = receive(self._handed[0])
        sockets = {name: here[number] for name, number in handed.sockets.items()}
        return msgspec.structs.replace(handed, sockets=sockets, lifeline=here[handed.lifeline], told=here[handed.told])


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """Give the descriptor of a file in memory that holds `data`; whoever reads it rewinds it first."""
    descriptor = os.memfd_create("request")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        yield descriptor
    finally:
        os.close(descriptor)


def _read_request(descriptor: int) -> Request:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Request)


@contextmanager
def _ending_with(asked: socket.socket) -> Iterator[None]:
    """End at the next import once the other end is gone: importing takes seconds, and nobody would be served by it."""
    other = select.poll()
    other.register(asked, 0)

    class Look(MetaPathFinder):
        @staticmethod
        def find_spec(*_asked: object) -> None:
            if other.poll(0):
                os._exit(UNKNOWN)

    sys.meta_path.insert(0, Look)
    try:
        yield
    finally:
        sys.meta_path.remove(Look)


def _is_readable(descriptor: int, seconds: float | None) -> bool:
    """Wait until there is something to be read; not by select(2), which knows the first 1,024 descriptors alone."""
    looked = select.poll()
    looked.register(descriptor, select.POLLIN)
    return bool(looked.poll(None if seconds is None else seconds * 1000))


def _call_it(name: str) -> None:
    """Let programs that list processes show what this one is."""
    sys.argv[:] = [name]
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:_NAME_BYTES])


def _code_of(status: bytes) -> int:
    return os.waitstatus_to_exitcode(int.from_bytes(status, "little")) if status else UNKNOWN


if __name__ == "__main__":
    main()
