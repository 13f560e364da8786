"""Reading a YAML file strictly: safe, a mapping at the top, no key twice."""

from pathlib import Path
from typing import Any

import yaml

from wildcast_server.errors import SettingsError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that comes twice, which YAML forbids and PyYAML lets pass."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # While composing, before merge keys are resolved: those may well repeat a key.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} comes twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings; an empty one has none.

    Raises
    ------
    SettingsError
        If it cannot be read, is not YAML, has a key twice, or is not a mapping. No value of it is repeated.
    """
    try:
        # The loader is a SafeLoader.
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - see above
    except OSError as error:
        raise SettingsError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the configuration file {path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        # Its own text quotes the line, which may hold a secret.
        raise SettingsError(f"the configuration file {path} is not valid YAML{_place(error)}") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"the configuration file {path} must be a mapping of sections, such as api and edge")
    return values or {}


def _place(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ""
    mark = error.problem_mark
    return f", line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
