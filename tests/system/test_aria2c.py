"""Other people's downloaders: aria2c reads a result by its signed URL, in parts, as the client does."""

import subprocess

import pytest

import wildcast
from wildcast_server.settings import load_settings
from wildcast_server.wiring.stack import Stack

WORKFLOW = '''
import random
from wildcast_server import RunContext, workflow


@workflow
def writes(context: RunContext) -> None:
    """Write small files with odd names, and a large one."""
    for name in ("plain.txt", "with space.txt", "ünïcode.txt", "100%.txt", "a+b#c.txt"):
        (context.output_directory / name).write_text(name)
    (context.output_directory / "large.bin").write_bytes(random.Random(1).randbytes(40_000_000))
'''


@pytest.mark.system
def test_it_gets_the_bytes_that_the_client_gets(tmp_path, forks):
    """Sixteen connections to one file, and a list of files, from the URL for everything; byte for byte the same."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "writes.py").write_text(WORKFLOW)
    values = {
        "data_dir": tmp_path / "data",
        "api.port": 0,
        "edge.port": 0,
        "results.min_free_disk_bytes": 0,
        "workflows.directories": [tmp_path / "workflows"],
        "object_storage.enabled": True,
    }
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    with Stack(settings, forks=forks) as stack, wildcast.Client(stack.api_url) as client:
        result = client.submit("writes").wait(timeout=60, progress=False)
        ours = result.download(tmp_path / "ours", progress=False)
        urls = [f"{result.sign(path)}\n  out={path}\n" for path in result.paths]
        (tmp_path / "urls").write_text("".join(urls))
        command = [
            "aria2c",
            "-x16",
            "-s16",
            "-k1M",
            "-j64",
            "--quiet",
            "-d",
            tmp_path / "theirs",
            "-i",
            tmp_path / "urls",
        ]
        subprocess.run(command, check=True, timeout=60)
    assert len(ours) == 6
    for path in result.paths:
        assert (tmp_path / "theirs" / path).read_bytes() == (tmp_path / "ours" / path).read_bytes()
