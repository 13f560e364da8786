"""config.yaml at the root of the repository: complete and true."""

import re
from pathlib import Path

import pytest
import yaml

from wildcast_server.settings import Settings, load_settings
from wildcast_server.settings.sources import AWS_VARIABLES, variable
from wildcast_server.settings.tree import LEAVES, SECTIONS

CONFIG = Path(__file__).parents[3] / "config.yaml"
TEXT = CONFIG.read_text()

# A setting that is commented out has no space behind its #.
EVERYTHING = yaml.safe_load(re.sub(r"^(\s*)#(?=\w)", r"\1", TEXT, flags=re.MULTILINE))

OWN = {
    "object_storage.enabled": True,
    "workflows.directories": ["server/example_workflows"],
}


def flat(values: dict) -> dict[str, object]:
    return {
        name: item
        for key, value in values.items()
        for name, item in (
            {f"{key}.{field}": found for field, found in value.items()} if key in SECTIONS else {key: value}
        ).items()
    }


def test_every_setting_stands_in_it_in_no_other_section():
    """Nothing is missing and nothing is there that is not a setting."""
    assert sorted(flat(EVERYTHING)) == sorted(LEAVES)


def test_its_values_are_the_defaults_save_two():
    """What it says is what holds without it, save what makes a clone run."""
    defaults = flat(Settings().model_dump(mode="json"))
    assert {name: value for name, value in flat(EVERYTHING).items() if value != defaults[name]} == OWN


def test_it_loads(tmp_path: Path):
    """As it stands it is a valid configuration of the embedded store."""
    settings = load_settings(environ={}, config_file=CONFIG, cwd=tmp_path).settings
    assert settings.store_uri == (tmp_path / "wildcast-data" / "objects").as_uri()
    assert settings.workflows.directories == (tmp_path / "server" / "example_workflows",)


@pytest.mark.parametrize("name", LEAVES)
def test_every_variable_is_told(name: str):
    """The reader finds each setting's environment variable in it."""
    assert re.search(rf"\b{variable(name)}\b", TEXT)


def test_the_aws_variables_still_work_beside_it(tmp_path: Path):
    """It sets nothing that would win over them, and tells them all."""
    assert all(name in TEXT for name, _ in AWS_VARIABLES)
    environ = {"AWS_DEFAULT_BUCKET": "a.b.c", "AWS_REGION": "eu-west-1"}
    section = load_settings(environ=environ, config_file=CONFIG, cwd=tmp_path).settings.object_storage
    assert (section.bucket, section.region) == ("a.b.c", "eu-west-1")
