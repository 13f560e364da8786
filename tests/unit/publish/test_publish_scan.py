"""What a scan lists, and what it refuses."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wildcast_server.errors import EmptyOutputError, UnpublishableFileError
from wildcast_server.publish import scan as scan_module
from wildcast_server.publish.scan import scan

Directory = Callable[..., Path]


def _paths(root: Path) -> list[str]:
    return [file.path for file in scan(root)]


def test_everything_is_listed_in_byte_order(directory: Directory):
    """Dotfiles, empty files and odd names are there, sorted by their UTF-8 bytes, as are NFC and NFD."""
    names = [".zgroup", "a b", "dir/.hidden", "dir/sub/empty", "Z", "é", "e\u0301", "日本", "z"]
    root = directory(dict.fromkeys(names, b""))
    (root / "empty directory").mkdir()
    assert _paths(root) == sorted(names, key=str.encode)


def test_a_file_is_described(directory: Directory):
    """A file's size, time and identity are those of the disk."""
    root = directory({"dir/file": b"12345"})
    (file,) = scan(root)
    about = (root / "dir/file").stat()
    assert (file.size, file.mtime_ns, file.inode) == (5, about.st_mtime_ns, about.st_ino)
    assert file.source == (root / "dir/file").resolve()


def test_links_inside_are_followed(directory: Directory):
    """A link to a file or directory of the output is published as what it leads to."""
    root = directory({"real/file": b"1", "top": b"22"})
    (root / "link").symlink_to("real")
    (root / "real/up").symlink_to("../top")
    assert [(file.path, file.size) for file in scan(root)] == [
        ("link/file", 1),
        ("link/up", 2),
        ("real/file", 1),
        ("real/up", 2),
        ("top", 2),
    ]
    assert not any(file.source.is_symlink() for file in scan(root))


def test_the_directory_itself_may_be_a_link(directory: Directory, tmp_path: Path):
    """A link to the output directory is as good as the directory."""
    root = directory({"file": b"1"})
    (tmp_path / "link").symlink_to(root)
    assert _paths(tmp_path / "link") == ["file"]


def _link_out(root: Path) -> None:
    (root / "sub/bad").symlink_to("/etc/hostname")


def _link_to_sibling(root: Path) -> None:
    sibling = root.with_name(f"{root.name}-sibling")
    sibling.mkdir()
    (root / "sub/bad").symlink_to(sibling)


def _link_through_a_link(root: Path) -> None:
    (root / "hop").symlink_to("sub/file")
    (root / "sub/bad").symlink_to("../hop/../../..")


def _dangling(root: Path) -> None:
    (root / "sub/bad").symlink_to("nowhere")


def _circle_of_directories(root: Path) -> None:
    (root / "sub/bad").symlink_to("..")


def _circle_of_links(root: Path) -> None:
    (root / "sub/bad").symlink_to("worse")
    (root / "sub/worse").symlink_to("bad")


def _fifo(root: Path) -> None:
    os.mkfifo(root / "sub/bad")


def _socket(root: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{short}/bad")
        Path(short, "bad").rename(root / "sub/bad")


def _link_to_fifo(root: Path) -> None:
    os.mkfifo(root / "sub/pipe")
    (root / "sub/bad").symlink_to("pipe")


REFUSED = {
    _link_out: "sub/bad cannot be published: the link leaves the output directory",
    _link_to_sibling: "sub/bad cannot be published: the link leaves the output directory",
    _link_through_a_link: "sub/bad cannot be published: the link leaves the output directory",
    _dangling: "sub/bad cannot be published: the link leads nowhere",
    _circle_of_directories: "sub/bad cannot be published: the link leads in a circle",
    _circle_of_links: "sub/(bad|worse) cannot be published: the link leads in a circle",
    _fifo: "sub/bad cannot be published: it is a FIFO",
    _socket: "sub/bad cannot be published: it is a socket",
    _link_to_fifo: "sub/(bad|pipe) cannot be published: it is a FIFO",
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.items())
def test_what_is_no_file_of_the_output_is_refused(directory: Directory, make: Callable[[Path], None], sentence: str):
    """Links that lead out or nowhere, circles and special files are errors that name the path and the reason."""
    root = directory({"sub/file": b"1"})
    make(root)
    with pytest.raises(UnpublishableFileError, match=sentence):
        scan(root)


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nbreak", b"tab\t", b"\x7f"], ids=repr)
def test_names_that_no_key_can_have_are_refused(directory: Directory, name: bytes):
    """A name that is not UTF-8 or has a control character is an error that shows it escaped."""
    root = directory({"file": b"1"})
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"")
    with pytest.raises(UnpublishableFileError, match="no object can have this name") as caught:
        scan(root)
    assert str(caught.value).isprintable()
    assert str(caught.value).encode()


def test_paths_that_are_too_long_are_refused(directory: Directory):
    """A path of more than 1,024 bytes, which no key may have, is an error."""
    root = directory({"/".join(["d" * 200] * 5) + "/" + "f" * 30: b"1"})
    with pytest.raises(UnpublishableFileError, match="1024"):
        scan(root)


@pytest.mark.parametrize("path", [".wildcast/manifest.json.gz", ".wildcast/mine", ".wildcast"])
def test_the_reserved_name_is_refused(directory: Directory, path: str):
    """A workflow that writes what belongs to wildcast is told so."""
    root = directory({"file": b"1", path: b"mine"})
    with pytest.raises(UnpublishableFileError, match=r"\.wildcast cannot be published: the name is reserved"):
        scan(root)


def test_a_reserved_name_further_down_is_a_name_like_any(directory: Directory):
    """Only the directory at the top is reserved."""
    assert _paths(directory({"sub/.wildcast/x": b"1"})) == ["sub/.wildcast/x"]


@pytest.mark.parametrize("contents", [[], ["only/empty/directories"]], ids=["empty", "directories"])
def test_a_directory_without_files_is_an_error(tmp_path: Path, contents: list[str]):
    """Nothing to publish is an error, not an empty publication."""
    for path in contents:
        (tmp_path / path).mkdir(parents=True)
    with pytest.raises(EmptyOutputError, match="is empty"):
        scan(tmp_path)


def test_what_is_no_directory(directory: Directory, tmp_path: Path):
    """A missing directory, and a file in its place, are errors that name it."""
    root = directory({"file": b"1"})
    with pytest.raises(UnpublishableFileError, match="missing cannot be published"):
        scan(tmp_path / "missing")
    with pytest.raises(UnpublishableFileError, match="not a directory"):
        scan(root / "file")


def test_too_many_files(directory: Directory, monkeypatch: pytest.MonkeyPatch):
    """One file more than a manifest may list is an error."""
    monkeypatch.setattr(scan_module, "MAX_FILES", 3)
    root = directory({"a": b"", "b": b"", "c": b""})
    assert len(scan(root)) == 3
    (root / "d").touch()
    with pytest.raises(UnpublishableFileError, match="more than 3 files"):
        scan(root)


@pytest.mark.parametrize("unreadable", ["sub/file", "sub"])
def test_what_cannot_be_read_is_refused(unreadable: str):
    """A file or directory without the permission to read it is an error that names it."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        (root / "sub").mkdir()
        (root / "sub/file").touch()
        (root / unreadable).chmod(0)
        sentence = _scan_as_nobody(root)
        (root / unreadable).chmod(0o700)
    assert sentence.startswith(f"{unreadable} cannot be published")
    assert "Permission denied" in sentence


AS_NOBODY = """
import os, sys
from pathlib import Path
from wildcast_server.errors import UnpublishableFileError
from wildcast_server.publish.scan import scan
if os.getuid() == 0:
    os.seteuid(65534)
try:
    scan(Path(sys.argv[1]))
except UnpublishableFileError as error:
    print(error)
"""


def _scan_as_nobody(root: Path) -> str:
    """Scan in a process that is not root, and return the error's text."""
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, root], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_link_to_a_device_is_refused(directory: Directory):
    """A device is outside of the output, wherever a link to it lies."""
    root = directory({"file": b"1"})
    (root / "null").symlink_to("/dev/null")
    with pytest.raises(UnpublishableFileError, match="null cannot be published"):
        scan(root)
