"""No secret is ever shown, and nothing can be changed."""

import copy
import json
import logging
import pickle

import pytest
from pydantic import ValidationError

from wildcast_server.errors import SettingsError
from wildcast_server.settings import Settings, describe
from wildcast_server.settings.values import FrozenDict

CANARY = "canary7d1f"

SECRETS = {
    "database.url": f"postgresql://u:{CANARY}@h/d",
    "object_storage.access_key_id": CANARY,
    "object_storage.secret_access_key": CANARY,
    "object_storage.session_token": CANARY,
    "object_storage.proxy_url": f"http://u:{CANARY}@h:1",
    "webhooks.secret": CANARY,
    "workflows.config": {"w": {"api_token": CANARY}},
}


def test_loaded_secrets_are_hidden_everywhere(load, pem: str):
    """Neither repr, str, dump, JSON nor the description repeats one."""
    body = pem.splitlines()[1]
    cloudfront = {"cloudfront_domain": "d", "cloudfront_key_pair_id": "K", "cloudfront_private_key_path": pem}
    loaded = load({**SECRETS, **{f"object_storage.{name}": value for name, value in cloudfront.items()}})
    section = loaded.settings.object_storage
    shown = [repr(loaded), str(loaded.settings), str(describe(loaded)), str(section.model_dump()), str(section)]
    shown += [section.model_dump_json(), str(loaded.settings.database_url), f"{section.signing_key}"]
    assert not [text for text in shown if CANARY in text or body in text]


@pytest.mark.parametrize(
    "given",
    [
        {"object_storage.access_key_id": [CANARY]},
        {"object_storage.secret_access_key": {"a": CANARY}},
        {"object_storage.secret_acces_key": CANARY},
        {"object_storage": {"secret_key": CANARY, "secret_access_key": f"{CANARY}2"}},
        {"object_storage.access_key_id": CANARY},
        {"database.url": CANARY},
        {"database.url": [f"postgresql://u:{CANARY}@h"]},
        {"object_storage.proxy_url": f"{CANARY}@h"},
        {"object_storage.endpoint_url": f"http://u:{CANARY}@h"},
        {"object_storage.store": f"s3://k:{CANARY}@b"},
        {"api.public_url": f"http://u:{CANARY}@h"},
        {"object_storage.cloudfront_private_key_path": f"MII{CANARY}"},
        {"object_storage.cloudfront_private_key": f"MII{CANARY}"},
        {"object_storage.cloudfront_private_key": f"-----BEGIN PRIVATE KEY----- {CANARY}"},
        {"object_storage.cloudfront_private_key": 5, "object_storage.cloudfront_domain": [CANARY]},
        {"workflows.config": {"w": CANARY}},
        {"workflows.config": f'{{"w": "{CANARY}"'},
    ],
)
def test_refused_secrets_are_not_repeated(load, given: dict, caplog: pytest.LogCaptureFixture):
    """Neither the sentence nor anything chained to it holds the value."""
    with pytest.raises(SettingsError) as caught:
        load(given)
    logging.getLogger("t").error("start failed", exc_info=caught.value)
    assert CANARY not in caplog.text


def test_a_broken_file_does_not_show_its_line(load, caplog: pytest.LogCaptureFixture):
    """YAML's own message would quote what stands there."""
    with pytest.raises(SettingsError) as caught:
        load(text=f"object_storage:\n  secret_access_key: '{CANARY}\n")
    logging.getLogger("t").error("start failed", exc_info=caught.value)
    assert CANARY not in caplog.text


def test_a_secret_that_is_refused_by_hand_is_not_repeated():
    """Constructing a section directly hides its input too."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"object_storage": {"secret_access_key": [CANARY], "store": f"s3://{CANARY}@b"}})
    assert CANARY not in str(caught.value)


def test_a_key_without_its_first_line_is_not_shown_as_a_path():
    """What is taken for a path because it is no PEM may be a key all the same."""
    given = {"cloudfront_private_key": f"MII{CANARY}", "cloudfront_domain": "d", "cloudfront_key_pair_id": "K"}
    assert CANARY not in repr(Settings.model_validate({"object_storage": given}))


def test_settings_cannot_be_changed(load):
    """Neither the tree, nor a section, nor anything within."""
    loaded = load({"workflows.config": {"w": {"a": [1, {"b": 2}]}}, "object_storage.tags": {"a": "b"}})
    settings = loaded.settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.data_dir = settings.output_dir
    with pytest.raises(ValidationError, match="frozen"):
        settings.api.port = 1
    for mapping in (settings.object_storage.tags, settings.workflows.config, settings.workflows.config["w"]["a"][1]):
        with pytest.raises(TypeError, match="cannot be changed"):
            mapping["x"] = 1
    with pytest.raises(TypeError):
        loaded.sources["api.port"] = "x"


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(a=2),
        lambda values: values.pop("a"),
        lambda values: values.clear(),
        lambda values: values.setdefault("b", 1),
        lambda values: values.popitem(),
        lambda values: values.__delitem__("a"),
        lambda values: values.__ior__({"b": 1}),
    ],
)
def test_a_frozen_dictionary_refuses_every_change(change):
    """There is no way around."""
    values = FrozenDict({"a": 1})
    with pytest.raises(TypeError, match="cannot be changed"):
        change(values)
    assert values == {"a": 1}


def test_a_frozen_dictionary_can_be_copied_and_encoded():
    """It is still a dictionary to those who only read."""
    values = FrozenDict({"a": [1, {"b": 2}]})
    assert json.loads(json.dumps(values)) == {"a": [1, {"b": 2}]}
    assert pickle.loads(pickle.dumps(values)) == copy.deepcopy(values) == values  # noqa: S301 - our own bytes
    assert {**values} == values


def test_settings_can_be_handed_to_another_process(load):
    """They survive pickling, frozen as before."""
    settings = load({"object_storage.tags": {"a": "b"}, "workflows.config": {"w": {"n": 1}}}).settings
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes
    assert again == settings
    with pytest.raises(TypeError):
        again.object_storage.tags["x"] = "y"
