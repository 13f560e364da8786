"""Logging in and out."""

import os
import sys

import click

from wildcast.cli.invocation import Command, Invocation, refuse, usage


@click.command("login", cls=Command)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input, and do not ask for it.")
@click.pass_obj
def login_command(invocation: Invocation, token_stdin: bool) -> None:
    """Remember a server and its token.

    The token is asked for, or read from standard input; a server that wants none gets an empty one. Both are kept where
    only you can read them, once the server has answered.
    """
    from wildcast._address import is_same
    from wildcast._config import save_login
    from wildcast._endpoint import URL_VARIABLE, Endpoint

    with usage():
        url = Endpoint(invocation.url).base_url
    token = _token(url, from_stdin=token_stdin)
    _check(invocation, url, token)
    with usage():
        path = save_login(url, token or None)
    invocation.output.answer(
        {"server": url, "has_token": bool(token), "config": str(path)},
        f"Logged in to {url}{'' if token else ' without a token'}; kept in {path}.",
    )
    if not is_same(os.environ.get(URL_VARIABLE) or url, url):
        invocation.output.note(f"{URL_VARIABLE} is set, and comes before what is kept.")


def _token(url: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if not sys.stdin.isatty():
        refuse("Standard input is no terminal to ask for a token on; give it with --token-stdin.")
    answer: str = click.prompt(
        f"Token for {url} (empty: none)", hide_input=True, default="", show_default=False, err=True
    )
    return answer.strip()


def _check(invocation: Invocation, url: str, token: str) -> None:
    from wildcast._client import Client

    with usage():
        client = Client(url, token)
    with client:
        health = client.health()
        if not health.is_healthy:
            invocation.output.note(f"{url} answers that it is {health.status}: {health.error}")
            return
        client.workflows()


@click.command("logout", cls=Command)
@click.pass_obj
def logout_command(invocation: Invocation) -> None:
    """Forget a server and its token."""
    from wildcast._config import forget
    from wildcast._endpoint import Endpoint

    with usage():
        url = Endpoint(invocation.url).base_url
        was_known = forget(url)
    invocation.output.answer(
        {"server": url, "was_known": was_known},
        f"Forgot {url}." if was_known else f"Nothing was kept for {url}.",
    )
