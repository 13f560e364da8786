"""The log, in both formats."""

import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from wildcast_server.wiring.logs import JsonFormatter, TextFormatter

RECORD = {"name": "wildcast_server.x", "levelno": logging.WARNING, "levelname": "WARNING", "created": 1e9 + 0.25}


def record_of(message, **extra):
    return logging.makeLogRecord({**RECORD, "msg": message, **extra})


def test_json_lines_have_time_level_logger_and_message():
    """One object a line, whatever is in the message."""
    line = JsonFormatter().format(record_of("two\nlines and a %s", args=("ü",)))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2001-09-09T01:46:40.250+00:00",
        "level": "warning",
        "logger": "wildcast_server.x",
        "message": "two\nlines and a ü",
    }


def test_json_lines_name_the_execution():
    """What belongs to an execution can be filtered by it."""
    assert json.loads(JsonFormatter().format(record_of("x", execution_id="exec_1")))["execution_id"] == "exec_1"


def test_json_lines_have_the_traceback():
    """It is a member of its own."""
    try:
        int("no convergence")
    except ValueError:
        line = JsonFormatter().format(record_of("x", exc_info=sys.exc_info()))
    assert json.loads(line)["exception"].endswith("'no convergence'")


def test_text_lines_are_in_utc():
    """Whatever the machine's time zone, a line can be compared with the records."""
    line = TextFormatter("%(asctime)s %(message)s").format(record_of("x"))
    assert line == "2001-09-09T01:46:40.250+00:00 x"
    assert datetime.fromisoformat(line.split()[0]).astimezone(UTC).year == 2001


PROGRAM = """
import logging, os, sys, tempfile
from pathlib import Path
import httpx
from wildcast_server.settings import load_settings
from wildcast_server.wiring.logs import set_up_logging
from wildcast_server.wiring.stack import Stack
import wildcast
where = Path(sys.argv[1])
settings = load_settings({
    "data_dir": where / "data", "api.port": 0, "edge.port": 0, "log.format": sys.argv[2], "log.level": "debug",
    "workflows.directories": [where / "workflows"], "workflows.config": {"refused": {"token": "canary"}},
    "object_storage.enabled": True, "results.min_free_disk_bytes": 0,
    "object_storage.bucket": "no-such-bucket", "object_storage.endpoint_url": sys.argv[3],
    "object_storage.access_key_id": "canary-id", "object_storage.secret_access_key": "canary-secret",
    "object_storage.session_token": "canary-token",
}, environ={}, cwd=where).settings
set_up_logging(settings.log)
logging.getLogger("settings").info("%r %s", settings, settings.object_storage)
with Stack(settings) as stack, wildcast.Client(stack.api_url) as client:
    for name in ("refused", "written"):
        try:
            client.submit(name).wait(timeout=60, progress=False)
        except wildcast.WildcastError as error:
            logging.getLogger("client").info("%s", error)
    link = settings and stack.edge_url + "/outputs/x?Policy=canary-p&Signature=canary-s&Key-Pair-Id=K"
    httpx.get(link)
"""

WORKFLOWS = """
from pydantic import BaseModel
from wildcast_server import RunContext, Workflow, workflow

class Refused(Workflow):
    name = "refused"
    class Config(BaseModel):
        token: int
    def run(self, parameters, context): ...

@workflow
def written(context: RunContext) -> None:
    context.logger.warning("written")
    (context.output_directory / "a.txt").write_text("a")
"""


@pytest.mark.parametrize("layout", [pytest.param("text", marks=pytest.mark.long), "json"])
def test_no_secret_is_logged(tmp_path, layout, s3_endpoint):
    """At level debug a whole stack fails at its store and at a configuration, and none of the secrets is in its log."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "some.py").write_text(WORKFLOWS)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), layout, s3_endpoint]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "no-such-bucket" in done.stderr
    assert "canary" not in done.stderr + done.stdout
    lines = done.stderr.splitlines()
    if layout == "json":
        assert all(json.loads(line)["message"] for line in lines)
    else:
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00 [A-Z]+ +[\w.]+: ", lines[0])
