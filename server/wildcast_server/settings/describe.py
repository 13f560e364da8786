"""The settings for people to read: name, value, source; secrets hidden."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from wildcast_server.settings.load import LoadedSettings
from wildcast_server.settings.tree import Settings
from wildcast_server.settings.values import Section

HIDDEN = "********"
DERIVED = "derived"

_SECRET_NAME = re.compile(r"secret|token|passw|credential|api_?key|private_?key", re.IGNORECASE)


@dataclass(frozen=True)
class SettingLine:
    """One setting."""

    name: str
    """Dotted."""
    value: Any
    """As a JSON value; a secret is stars."""
    source: str


def describe(loaded: LoadedSettings) -> list[SettingLine]:
    """List every setting in the order of the tree, and at the end what was derived from several.

    A setting that is not set but has an effect all the same, such as the database's URL, is shown with what it
    comes to.
    """
    effective = _effective(loaded.settings)
    return [
        *(
            SettingLine(name, _shown(effective.get(name, _value(loaded.settings, name))), source)
            for name, source in loaded.sources.items()
        ),
        *_derived(loaded.settings),
    ]


def _effective(settings: Settings) -> Mapping[str, Any]:
    comes_to = {
        "api.public_url": settings.api.url,
        "edge.public_url": settings.edge.url,
        "results.output_dir": settings.output_dir,
    }
    if settings.database.url is None:
        comes_to["database.url"] = settings.database_url.get_secret_value()
    return comes_to


def _derived(settings: Settings) -> Iterator[SettingLine]:
    acceleration = settings.object_storage.acceleration
    yield SettingLine("object_storage.store_uri", settings.store_uri, DERIVED)
    yield SettingLine(
        "object_storage.acceleration", f"{'on' if acceleration.on else 'off'}: {acceleration.why}", DERIVED
    )


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: HIDDEN if _SECRET_NAME.search(str(key)) else _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value
