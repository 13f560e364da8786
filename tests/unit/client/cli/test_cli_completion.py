"""Completing words in the shell."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from wildcast.cli.program import COMMANDS


@pytest.fixture
def completed(call, monkeypatch):
    """Complete the last of some words, as fish's script asks for it; give what is offered."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_WILDCAST_COMPLETE", "fish_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(["wildcast", *words]))
        monkeypatch.setenv("COMP_CWORD", words[-1])
        done = call()
        assert (done.code, done.err) == (0, "")
        return [line.partition(",")[2].partition("\t")[0] for line in done.lines if line]

    return complete


def test_commands_and_options_are_completed(completed, api):
    """Without asking the server."""
    assert completed("") == list(COMMANDS)
    assert completed("l") == ["login", "logout", "list", "ls"]
    assert "--status" in completed("list", "--s")
    assert api.seen == []


def test_workflows_are_completed(completed):
    """By the server's list."""
    assert completed("submit", "") == ["many", "wf"]
    assert completed("workflows", "m") == ["many"]
    assert completed("list", "--workflow", "w") == ["wf"]


def test_parameters_are_completed(completed):
    """By the schema of the workflow before them."""
    assert completed("submit", "many", "st") == ["steps=", "start="]


def test_executions_are_completed(completed, api):
    """The newest ones, also of a server that is named before."""
    names = {api.add(1), api.add(2)}
    assert set(completed("--url", api.url, "status", "exec_")) == names
    assert completed("get", "other") == []


def test_a_server_that_does_not_answer_offers_nothing(completed, api, monkeypatch):
    """Neither one that is away, nor one that is silent, says a word or keeps one waiting."""
    api.stop()
    assert completed("status", "") == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WILDCAST_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert completed("status", "") == []
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(call, shell):
    """It is printed, and nothing else."""
    done = call("completion", shell)
    assert (done.code, done.err, "_WILDCAST_COMPLETE" in done.text) == (0, "", True)
    assert call("completion", shell, "--json").json == {"shell": shell, "script": done.text[:-1]}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path, api):
    """The script as bash runs it, when Tab is pressed."""
    program = tmp_path / "wildcast"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wildcast.cli "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(wildcast completion bash)"; COMP_WORDS=(wildcast submit m); COMP_CWORD=2; '
        '_wildcast_completion wildcast; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WILDCAST_URL": api.url}
    for _ in range(10):
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        # It waits for the server so long only, and a busy machine may take longer: then Tab is pressed again.
        if done.stdout != "\n":
            break
    assert (done.stdout, done.stderr) == ("many\n", "")
