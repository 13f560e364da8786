"""The settings as people read them."""

import json
import subprocess
import sys

from wildcast_server.settings import describe
from wildcast_server.settings.tree import LEAVES


def lines(loaded) -> dict[str, tuple[object, str]]:
    return {line.name: (line.value, line.source) for line in describe(loaded)}


def test_every_setting_is_listed_once_in_order(load):
    """The tree's order, and after it what was derived."""
    names = [line.name for line in describe(load())]
    assert names[: len(LEAVES)] == list(LEAVES)
    assert names[len(LEAVES) :] == ["object_storage.store_uri", "object_storage.acceleration"]


def test_values_are_json_with_their_sources(load, tmp_path):
    """Paths, lists and mappings become what JSON has."""
    loaded = load({"workflows.directories": "w", "object_storage.tags": {"a": "b"}}, {"WILDCAST_API__PORT": "9"})
    found = lines(loaded)
    assert json.loads(json.dumps(found["object_storage.tags"][0])) == {"a": "b"}
    assert found["workflows.directories"] == ([str(tmp_path / "w")], "argument workflows.directories")
    assert found["api.port"] == (9, "environment WILDCAST_API__PORT")


def test_secrets_are_stars(load):
    """Whether set by type or by a name within a workflow's own config."""
    loaded = load(
        {
            "database.url": "postgresql://u:p@h/d",
            "object_storage.proxy_url": "http://u:p@h",
            "workflows.config": {"w": {"api_key": "k", "depth": {"password": "p", "n": 1}}},
        }
    )
    found = lines(loaded)
    assert found["database.url"][0] == "********"
    assert found["object_storage.proxy_url"][0] == "********"
    assert found["workflows.config"][0] == {"w": {"api_key": "********", "depth": {"password": "********", "n": 1}}}


def test_what_is_not_set_is_shown_with_what_it_comes_to(load, tmp_path):
    """The reader sees where records, outputs and objects are."""
    found = lines(load())
    assert found["database.url"] == (f"sqlite:///{tmp_path}/wildcast-data/wildcast.sqlite", "default")
    assert found["results.output_dir"][0] == f"{tmp_path}/wildcast-data/outputs"
    assert found["edge.public_url"][0] == "http://127.0.0.1:8001"
    assert found["object_storage.store_uri"] == (f"file://{tmp_path}/wildcast-data/objects", "derived")


def test_acceleration_is_told_with_its_reason(load):
    """A custom endpoint switches it off, and says so."""
    found = lines(load({"object_storage.bucket": "b-1", "object_storage.endpoint_url": "http://h"}))
    assert str(found["object_storage.acceleration"][0]).startswith("off: endpoint_url")


def test_settings_are_a_leaf():
    """Importing them brings no web framework, database, engine or cloud library along."""
    heavy = ("fastapi", "starlette", "sqlalchemy", "alembic", "boto3", "obstore", "xarray", "cryptography", "httpx")
    code = f"import sys, wildcast_server.settings; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
