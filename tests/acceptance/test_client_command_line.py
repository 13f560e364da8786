"""`wildcast` as its users call it: processes, against the whole stack."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

PROGRAM = [sys.executable, "-m", "wildcast.cli"]


@pytest.fixture
def environment(running, clean_environment, tmp_path) -> dict[str, str]:
    """What a user's processes find: the server, and a home of their own."""
    return clean_environment | {"WILDCAST_URL": running.stack.api_url, "HOME": str(tmp_path)}


@pytest.fixture
def call(environment, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the program in an empty directory; give what it printed."""

    def call_program(*words: object, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call_program


def test_a_request_is_submitted_watched_read_and_deleted(call, running, tmp_path):
    """From the workflow's schema to the file on disk, and through a signed URL."""
    assert "copies     whole number" in call("workflows", "writes_text").stdout
    name = call("submit", "writes_text", "text=a b", "copies=3", "--label", f"test={tmp_path.name}").stdout.strip()
    ended = json.loads(call("wait", name, "--json", "--timeout", "60s").stdout)
    assert (ended["status"], ended["execution_id"]) == ("completed", name)
    assert call("list", "--label", f"test={tmp_path.name}", "-q").stdout.startswith(name)
    assert call("ls", name, "-l").stdout.splitlines() == [f"      3 B  {number}.txt" for number in range(3)]
    call("get", name, "[12].txt", "-o", "down")
    assert sorted(path.name for path in (tmp_path / "down").iterdir()) == ["1.txt", "2.txt"]
    assert call("cat", name, "0.txt").stdout == "a b"
    url = call("url", name, "0.txt", "--expires-in", "5m").stdout.strip()
    assert running.http.get(url).text == "a b"
    wildcard = call("url", name).stdout.strip()
    assert running.http.get(wildcard.replace("*", "1.txt", 1)).text == "a b"
    call("delete", name, "--yes")
    assert json.loads(call("status", name, "--json", code=3).stderr)["kind"] == "UnknownExecutionError"


def test_cookies_open_what_a_url_does(call, running):
    """As one header, which plain tools take."""
    name = call("submit", "writes_text", "--wait").stdout.strip()
    header, _, cookies = call("url", name, "--cookies").stdout.strip().partition(": ")
    assert header == "Cookie"
    base = call("url", name).stdout.partition("*")[0]
    assert running.http.get(f"{base}0.txt", headers={"Cookie": cookies}).text == "hello"
    assert running.http.get(f"{base}0.txt").status_code == 403


def test_no_signature_is_printed_but_where_it_is_asked_for(call, running):
    """Neither among the files, nor in a status, nor in an error about a file that the store has lost."""
    name = call("submit", "writes_text", "--wait").stdout.strip()
    seen = [
        call(*words, name).stdout for words in (["status"], ["status", "--json"], ["ls", "--json"], ["wait", "--json"])
    ]
    [lost] = running.data.rglob(f"{name}/0.txt")
    lost.unlink()
    for options in ([], ["--json"]):
        done = call("cat", name, "0.txt", *options, code=7)
        seen.append(done.stdout + done.stderr)
    assert [text for text in seen if "Signature" in text or "Policy" in text] == []


def test_what_fails_says_why(call):
    """The reason is the workflow's own; the exit code tells a failure from an error."""
    done = call("submit", "raises", "message=no convergence", "--wait", "--json", code=8)
    error = json.loads(done.stderr)
    assert (error["kind"], "no convergence" in error["error"]) == ("ExecutionFailedError", True)


def test_ctrl_c_leaves_the_execution_running(environment, running, tmp_path):
    """It is found again, and cancelled."""
    words = ["submit", "waits_for_a_file", f"path={tmp_path / 'never'}", "--wait"]
    with subprocess.Popen([*PROGRAM, *words], env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        name = waiting.stdout.readline().strip()
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(timeout=20) == 130
    execution = running.client.get(name)
    assert not execution.last_status.status.is_final
    execution.cancel()


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
def test_a_pipe_may_end_early(environment, call):
    """The shell is told why nothing more was written, and nothing is said."""
    name = call("submit", "writes_text", "--wait").stdout.strip()
    script = f"set -o pipefail; {' '.join(PROGRAM)} cat {name} 0.txt | true"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 141)


HEAVY = ["aiohttp", "fsspec", "httpx", "matplotlib", "msgspec", "numpy", "tqdm", "wildcast_server", "xarray", "zarr"]


@pytest.mark.parametrize(
    ("words", "not_loaded"),
    [(["--help"], HEAVY), (["completion", "zsh"], HEAVY), (["workflows"], [*HEAVY[:2], "numpy", "xarray", "zarr"])],
)
def test_nothing_is_imported_that_is_not_needed(environment, words, not_loaded):
    """Help is there at once; asking the server needs nothing that reads files."""
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('LOADED', [name for name in {not_loaded} if name in sys.modules]))\n"
        f"sys.argv = ['wildcast', *{words}]\n"
        "from wildcast.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
