"""Logging in and out on the command line."""

import io
import json
import sys

import click
import pytest
from starlette.responses import JSONResponse

TOKEN = "canary-token"


@pytest.fixture
def log_in(typed, api, monkeypatch):
    """Log in with a token from standard input."""

    def log_in(token: str = TOKEN, *options: str, url: str = ""):
        stream = io.TextIOWrapper(io.BytesIO(f"{token}\n".encode()))
        monkeypatch.setattr(sys, "stdin", stream)
        return typed("login", "--url", url or api.url, "--token-stdin", *options)

    return log_in


def test_a_login_is_kept_and_used(log_in, typed, api, home):
    """Whoever logs in need not name the server or the token again; nobody sees the token."""
    done = log_in()
    assert (done.code, api.url in done.text) == (0, True)
    assert (home / "config.json").stat().st_mode & 0o777 == 0o600
    assert typed("workflows").code == 0
    assert api.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_logout_forgets(log_in, typed, home):
    """Server and token; a second one has nothing to forget."""
    log_in()
    assert typed("logout", "--json").json["was_known"] is True
    assert TOKEN not in (home / "config.json").read_text()
    assert "Nothing was kept" in typed("logout").text


def test_a_server_that_wants_no_token_gets_none(log_in, home):
    """An empty line."""
    assert log_in("", "--json").json["has_token"] is False
    assert json.loads((home / "config.json").read_text())["tokens"] == {}


def test_an_empty_token_is_not_tried_with_another_one(log_in, api, monkeypatch):
    """What is kept is what was tried, whatever the environment has."""
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    assert log_in("").code == 0
    assert [seen.headers.get("authorization") for seen in api.seen] == [None, None]


@pytest.mark.parametrize(("variable", "noted"), [("", False), ("HTTP://Localhost:8000/", False), ("http://b", True)])
def test_a_variable_that_comes_before_is_noted(log_in, api, monkeypatch, variable, noted):
    """If it is set, and to another server, however that is spelled."""
    monkeypatch.setenv("WILDCAST_URL", variable.replace("Localhost:8000", api.url.rpartition("/")[2]))
    done = log_in()
    assert done.code == 0
    assert ("comes before" in done.err) is noted


def test_nothing_is_kept_if_the_server_does_not_answer(log_in, api, home):
    """The address may be wrong."""
    api.stop()
    assert log_in().code == 5
    assert not home.exists()


def test_nothing_is_kept_if_the_token_is_not_accepted(log_in, api, home):
    """A token that does not work is known before it is needed."""
    api.meddle = lambda request: JSONResponse({"error": "no"}, 401) if "workflows" in request.url.path else None
    assert log_in().code == 4
    assert not home.exists()


def test_a_server_that_is_unhealthy_answers_too(log_in, api):
    """What it says is shown."""
    api.meddle = lambda _: JSONResponse({"status": "unhealthy", "error": "no records"}, 503)
    done = log_in()
    assert (done.code, "no records" in done.err) == (0, True)


@pytest.mark.parametrize("token", ["two words", "täken"])
def test_a_token_that_no_header_carries_is_refused_unseen(log_in, token):
    """The sentence does not show it."""
    done = log_in(token)
    assert done.code == 2
    assert token not in done.err


def test_a_token_is_asked_for_on_a_terminal_only(typed, api, monkeypatch):
    """Without being shown; elsewhere the sentence names the option."""
    asked = []

    def ask(text: str) -> str:
        asked.append(text)
        return TOKEN

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    done = typed("login", "--url", api.url)
    assert (done.code, "--token-stdin" in done.err) == (2, True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click.termui, "hidden_prompt_func", ask)
    assert typed("login", "--url", api.url).code == 0
    assert api.url in asked[0]
    assert api.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_variable_that_comes_first_is_mentioned(log_in, api, monkeypatch):
    """Or one wonders why the login has no effect."""
    monkeypatch.setenv("WILDCAST_URL", "http://127.0.0.1:9")
    assert "WILDCAST_URL" in log_in(url=api.url).err
