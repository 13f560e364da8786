"""The files of a result: listing, downloading, printing, and signing URLs for them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wildcast._errors import MissingFileError, shown
from wildcast._text import size_text
from wildcast.cli.acting import execution_argument
from wildcast.cli.durations import Duration
from wildcast.cli.invocation import Command, Invocation, refuse

if TYPE_CHECKING:
    from wildcast._result import Result

BLOCK = 8 << 20
"""Bytes that `cat` reads at a time; what is no larger is held to its checksum before any of it is printed."""


@click.command("ls", cls=Command)
@execution_argument
@click.argument("path", default="")
@click.option("-l", "--long", is_flag=True, help="With sizes.")
@click.option("-R", "--recursive", is_flag=True, help="All files below, and no directories.")
@click.pass_obj
def ls_command(invocation: Invocation, execution: str, path: str, long: bool, recursive: bool) -> None:
    """List the files of a result.

    The names are the paths that `cat`, `get` and `url` take. With --json, one a line.
    """
    with invocation.result(execution) as result:
        for entry in _entries(result, path, recursive=recursive):
            is_directory = entry["type"] == "directory"
            name = entry["name"] + ("/" if is_directory else "")
            size = f"{'-' if is_directory else size_text(entry['size']):>9}  " if long else ""
            value = {"path": entry["name"], "type": entry["type"]}
            invocation.output.line(value if is_directory else {**value, "size": entry["size"]}, f"{size}{name}")


def _entries(result: "Result", path: str, *, recursive: bool) -> list[dict[str, Any]]:
    below = result._in_fs(path)  # noqa: SLF001 - of this distribution
    if not recursive:
        return list(result.fs.ls(below, detail=True))
    found = list(result.fs.find(below, detail=True).values())
    if not found:
        # It finds nothing in what is not there.
        result.fs.info(below)
    return found


@click.command("get", cls=Command)
@execution_argument
@click.argument("pattern", required=False)
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The directory to write below.  [default: this one]",
)
@click.pass_obj
def get_command(invocation: Invocation, execution: str, pattern: str | None, directory: Path) -> None:
    """Download files, and print where they are.

    All of the result, or what PATTERN names: a path, a directory, or a glob in quotes, with `*` within a name and `**`
    over directories. What is there already and right is left alone, so that a download that was ended is gone on with.
    """
    with invocation.result(execution) as result:
        paths = result.download(directory, pattern, progress=invocation.progress)
    for path in paths:
        invocation.output.line({"path": str(path)}, str(path))


@click.command("cat", cls=Command)
@execution_argument
@click.argument("path")
@click.pass_obj
def cat_command(invocation: Invocation, execution: str, path: str) -> None:
    """Print one file of a result.

    It is printed as it is; --json is about errors alone.
    """
    with invocation.result(execution) as result:
        invocation.output.data(_blocks(result, result._in_fs(path)))  # noqa: SLF001 - of this distribution


def _blocks(result: "Result", path: str) -> Iterator[bytes]:
    info = result.fs.info(path)
    if info["type"] == "directory":
        what = shown(path) if path.strip("/") else "The result itself"
        raise MissingFileError(
            f"{what} is a directory: `wildcast ls` lists what is in it, `wildcast get` downloads it."
        )
    size = info["size"]
    if size <= BLOCK:
        yield result.fs.cat_file(path)
        return
    for start in range(0, size, BLOCK):
        yield result.fs.cat_file(path, start, min(start + BLOCK, size))


@click.command("url", cls=Command)
@execution_argument
@click.argument("path", required=False)
@click.option("--expires-in", type=Duration(), help="How long it is good for, such as 1h.  [default: the server's]")
@click.option("--ip", metavar="ADDRESS", help="Good for this IPv4 address or network only, such as 192.0.2.0/24.")
@click.option("--cookies", is_flag=True, help="Cookies for all files instead, as one header that plain tools take.")
@click.pass_obj
def url_command(
    invocation: Invocation,
    execution: str,
    path: str | None,
    expires_in: timedelta | None,
    ip: str | None,
    cookies: bool,
) -> None:
    """Print a signed URL.

    It is for the result, for a directory of it (both have a star, in whose place a path goes), or for a file. Whoever
    has it can read, until it ends. A directory's brings along the manifest's, behind #manifest=, by which the client
    tells a lost file from a gap; it shows the names and sizes of all files. With --cookies: curl -H "$(wildcast url ID
    --cookies)" https://…
    """
    if cookies and path is not None:
        refuse("Cookies are for the whole result; leave PATH out.")
    seconds = None if expires_in is None else expires_in.total_seconds()
    with invocation.result(execution) as result:
        if cookies:
            given = result.cookies(seconds, ip)
            header = "; ".join(f"{name}={value}" for name, value in given.items())
            invocation.output.answer({"cookies": given}, f"Cookie: {header}")
            return
        url = _url(result, path, seconds, ip)
    invocation.output.answer({"url": url}, url)


def _url(result: "Result", path: str | None, seconds: float | None, ip: str | None) -> str:
    if path is None and seconds is None and ip is None and result.signed_url is not None:
        return result.signed_url
    return result.sign(path, seconds, ip)
