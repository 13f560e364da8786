"""How fast whole files, and ranges of a large one, come from the API and from the edge, beside nginx on loopback.

    python benchmarks/serve_files.py [--runs 5] [--gibibytes 1]

The servers are `wildcast-server serve` as processes, one with each storage type; nginx, if it is installed (Debian's
`nginx-light` will do), has one worker and sends by `sendfile`. All have the file in the page cache, and are asked in
turn, over a new connection each time. The client is this process.
"""

import argparse
import getpass
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import wildcast

WORKFLOW = '''
from wildcast_server import RunContext, workflow

BLOCK = bytes(range(256)) * 4096


@workflow
def writes(context: RunContext, blocks: int) -> None:
    """Write a file to be read whole, and one that grows later."""
    with (context.output_directory / "whole.bin").open("wb") as file:
        for _ in range(blocks):
            file.write(BLOCK)
    (context.output_directory / "sparse.bin").touch()
'''

NGINX = """
user {user};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
}}
"""

SPARSE = 4 << 30
BUFFER = bytearray(1 << 20)
PATIENCE = 60.0
RANGE_RUNS = 20
"""For one of the whole file."""


@dataclass(frozen=True)
class Served:
    """A server, and the URLs of the two files."""

    name: str
    whole: str
    sparse: str


@dataclass(frozen=True)
class Figures:
    """What was measured of one server: medians."""

    bytes_per_second: float
    start_seconds: float
    end_seconds: float


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a server."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not start")
        time.sleep(0.02)


def free_port() -> int:
    """Find one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str | Path], directory: Path, port: int) -> Iterator[None]:
    """Run a server until it is not needed any more."""
    process = subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def wildcast_server(directory: Path, storage: str, blocks: int) -> Iterator[tuple[Served, Path]]:
    """Publish the files with one storage type; give their URLs, and the directory that they are sent from."""
    (directory / "workflows").mkdir(parents=True)
    (directory / "workflows" / "writes.py").write_text(WORKFLOW)
    port = free_port()
    values = {
        "data_dir": directory / "data",
        "workflows.directories": directory / "workflows",
        "object_storage.enabled": str(storage == "s3").lower(),
        "log.level": "warning",
    }
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    program = Path(sys.executable).parent / "wildcast-server"
    command = [program, *options, "serve", "--port", str(port), "--edge-port", str(free_port())]
    with running(command, directory, port):
        api = f"http://127.0.0.1:{port}"
        with wildcast.Client(api) as client:
            execution = client.submit("writes", blocks=blocks)
            result = execution.wait(timeout=300, progress=False)
        base = f"{api}/v1/infer/writes/{execution.id}/results/*"
        url, name = (base, "API") if storage == "server" else (result.signed_url, "edge")
        sparse = next((directory / "data").rglob("sparse.bin"))
        with sparse.open("wb") as file:
            file.truncate(SPARSE)
        yield Served(name, url.replace("*", "whole.bin", 1), url.replace("*", "sparse.bin", 1)), sparse.parent


@contextmanager
def nginx(program: str, directory: Path, root: Path) -> Iterator[Served]:
    """Serve a directory."""
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(user=getpass.getuser(), directory=directory, root=root, port=port))
    with running([program, "-p", str(directory), "-c", str(configuration)], directory, port):
        url = f"http://127.0.0.1:{port}"
        yield Served("nginx", f"{url}/whole.bin", f"{url}/sparse.bin")


def get(url: str, size: int, byte_range: str = "") -> float:
    """Read a body of `size` bytes over a connection of its own; return how many seconds that took."""
    parts = urlsplit(url)
    lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    request = "\r\n".join([*lines, f"Range: {byte_range}"] if byte_range else lines) + "\r\n\r\n"
    began = time.perf_counter()
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(request.encode())
        first = connection.recv(1 << 16)
        received = len(first)
        while count := connection.recv_into(BUFFER):
            received += count
    seconds = time.perf_counter() - began
    head = first.partition(b"\r\n\r\n")[0]
    if head.split()[1] not in (b"200", b"206") or received - len(head) - 4 != size:
        raise ValueError(f"{parts.netloc} did not send {size} bytes: {head[:40]!r}")
    return seconds


def measure(servers: list[Served], size: int, runs: int) -> dict[str, Figures]:
    """Ask the servers in turn."""
    whole: dict[str, list[float]] = {server.name: [] for server in servers}
    start: dict[str, list[float]] = {server.name: [] for server in servers}
    end: dict[str, list[float]] = {server.name: [] for server in servers}
    for server in servers:
        get(server.whole, size)
    for _ in range(runs):
        for server in servers:
            whole[server.name].append(get(server.whole, size))
            for _ in range(RANGE_RUNS):
                start[server.name].append(get(server.sparse, 100, "bytes=0-99"))
                end[server.name].append(get(server.sparse, 100, f"bytes={SPARSE - 100}-"))
    median = statistics.median
    return {name: Figures(size / median(whole[name]), median(start[name]), median(end[name])) for name in whole}


def show(figures: dict[str, Figures]) -> None:
    """Print the table."""
    print("| server | whole file, GB/s | of nginx | 100 bytes at the start of 4 GiB, ms | at its end, ms |")
    print("| --- | --- | --- | --- | --- |")
    reference = figures.get("nginx")
    for name, each in figures.items():
        ratio = f"{each.bytes_per_second / reference.bytes_per_second:.2f}" if reference else "not installed"
        speeds = f"{each.bytes_per_second / 1e9:.2f} | {ratio}"
        print(f"| {name} | {speeds} | {1000 * each.start_seconds:.1f} | {1000 * each.end_seconds:.1f} |")
    if reference is None:
        print("| nginx | missing: not installed | | | |")


def main() -> None:
    """Start the servers and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--gibibytes", type=float, default=1.0)
    arguments = parser.parse_args()
    blocks = int(arguments.gibibytes * 1024)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        api, root = stack.enter_context(wildcast_server(Path(name) / "api", "server", blocks))
        edge, _ = stack.enter_context(wildcast_server(Path(name) / "edge", "s3", blocks))
        # Debian keeps it where only root looks.
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        servers = [] if program is None else [stack.enter_context(nginx(program, Path(name), root))]
        show(measure([*servers, api, edge], blocks << 20, arguments.runs))


if __name__ == "__main__":
    main()
