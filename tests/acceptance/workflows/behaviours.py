"""Workflows that behave, and that misbehave in every way that the service has to survive."""

import os
import signal
import sys
import time
from pathlib import Path

from wildcast_server import RunContext, workflow


@workflow
def writes_text(context: RunContext, text: str = "hello", copies: int = 1) -> None:
    """Write `text` into some files."""
    for index in range(copies):
        context.progress(index, copies, file=f"{index}.txt")
        (context.output_directory / f"{index}.txt").write_text(text)


@workflow
def raises(context: RunContext, message: str = "no convergence") -> None:
    """Leave something behind and raise."""
    (context.output_directory / "partial.txt").write_text("partial")
    raise ArithmeticError(message)


@workflow
def exits(context: RunContext, code: int = 3) -> None:
    """Leave the process without a word."""
    (context.output_directory / "partial.txt").write_text("partial")
    sys.stderr.write("about to leave\n")
    sys.stderr.flush()
    os._exit(code)


@workflow
def is_killed(context: RunContext) -> None:
    """Die as the kernel's out-of-memory killer would have it."""
    (context.output_directory / "partial.txt").write_text("partial")
    os.kill(os.getpid(), signal.SIGKILL)


@workflow
def writes_nothing(context: RunContext) -> None:
    """End well, without any output."""


@workflow
def writes_reserved_name(context: RunContext) -> None:
    """Write where only wildcast itself may."""
    reserved = context.output_directory / ".wildcast"
    reserved.mkdir()
    (reserved / "manifest.json.gz").write_bytes(b"forged")


@workflow
def links_out(context: RunContext) -> None:
    """Try to publish a file of the host."""
    (context.output_directory / "passwd").symlink_to("/etc/passwd")


@workflow
def fills_the_disk(context: RunContext, megabytes: int = 64) -> None:
    """Write more than the process may."""
    with (context.output_directory / "big.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))


@workflow
def waits_for_a_file(context: RunContext, path: str) -> None:
    """Compute until `path` exists, and stop when told to."""
    context.progress(pid=os.getpid())
    while not Path(path).exists():
        context.check_cancelled()
        time.sleep(0.02)
    (context.output_directory / "a.txt").write_text("waited")
