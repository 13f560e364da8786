"""The command line's own small parts; `tests/acceptance/test_command_line.py` runs the commands."""

import click
import pytest
from click.testing import CliRunner

from wildcast_server import cli
from wildcast_server.cli.commands import OneSentence, one_sentence, parse_assignment, parse_prefix
from wildcast_server.cli.commands import cli as command_line
from wildcast_server.errors import NotFoundError, SettingsError


def assignments(*texts: str):
    return parse_assignment(None, None, texts)


def test_assignments_are_yaml():
    """Numbers, booleans, lists and text with an equals sign come out as such; the last of two wins."""
    assert assignments("a.b=1", "c=true", "d=[x, y]", "e=k=v", "f=", "a.b=2") == {
        "a.b": 2,
        "c": True,
        "d": ["x", "y"],
        "e": "k=v",
        "f": None,
    }


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_an_assignment_needs_name_and_value(text):
    """What is no pair is refused with the form that it should have."""
    with pytest.raises(click.BadParameter, match=r"section\.name=value"):
        assignments(text)


def test_a_value_that_is_not_yaml_is_not_repeated():
    """It may be a secret."""
    with pytest.raises(click.BadParameter) as caught:
        assignments("a.secret=[canary")
    assert "a.secret" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["outputs/exec_1_a", "/outputs/exec_1_a/", "outputs/exec_1_a/*"])
def test_a_prefix_is_a_path_in_the_store(text):
    """With slashes around it or without, and also as a signed URL ends."""
    assert parse_prefix(None, None, text) == "outputs/exec_1_a"


@pytest.mark.parametrize("text", ["", "/", "*/..", "https://cdn.example/outputs/*?Signature=canary", "s3://bucket/a"])
def test_what_is_no_prefix_is_told_what_one_is(text):
    """Before a key is looked for, and without repeating what may be a secret."""
    done = CliRunner().invoke(command_line, ["sign", text])
    assert done.exit_code == 2
    assert "outputs/exec_" in done.output
    assert "canary" not in done.output


@pytest.mark.parametrize("error", [SettingsError("one sentence"), NotFoundError("one sentence")])
def test_our_errors_become_a_sentence(error, capsys):
    """Exit code 1, and no traceback."""
    with pytest.raises(OneSentence) as caught, one_sentence():
        raise error
    caught.value.show()
    assert capsys.readouterr().err == "wildcast-server: one sentence\n"
    assert caught.value.exit_code == 1


def test_a_bug_keeps_its_traceback():
    """What is not ours goes on as it is."""
    with pytest.raises(RuntimeError), one_sentence():
        raise RuntimeError("bug")


def test_every_extra_that_is_named_exists(pytestconfig):
    """The advice to install an extra can be followed."""
    import tomllib

    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())["project"]
    assert {"server", *cli.EXTRAS.values()} <= set(project["optional-dependencies"])
