"""Loading the settings: arguments > environment > file > standard AWS variables > defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from wildcast_server.errors import SettingsError
from wildcast_server.settings.conflicts import ConflictError
from wildcast_server.settings.moved import moved_sentences
from wildcast_server.settings.problems import conflict_sentences, not_a_section, sentences, unknown_setting
from wildcast_server.settings.sources import (
    Given,
    Layer,
    arguments_layer,
    aws_layer,
    environment_layer,
    file_layer,
    unused_variables,
)
from wildcast_server.settings.spelling import ALIASES, PATH, PEM, renames
from wildcast_server.settings.tree import LEAVES, SECTIONS, Settings

CONFIG_VARIABLE = "WILDCAST_CONFIG"
CONFIG_NAME = "config.yaml"

_OBJECT_STORAGE = "object_storage."
_RIVALS = {_OBJECT_STORAGE + PEM: _OBJECT_STORAGE + PATH, _OBJECT_STORAGE + PATH: _OBJECT_STORAGE + PEM}
"""Two forms of one setting: the one from the higher source wins."""


@dataclass(frozen=True)
class LoadedSettings:
    """The settings, and where each came from."""

    settings: Settings
    sources: Mapping[str, str]
    """By dotted name: ``argument x``, ``environment X``, ``file /x``, ``AWS variable X``, or ``default``."""
    unused: tuple[str, ...] = ()
    """Environment variables that look like settings and are none."""


def load_settings(
    arguments: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    cwd: Path | None = None,
) -> LoadedSettings:
    """Read, merge and check the settings.

    Parameters
    ----------
    arguments
        By dotted name (``{"api.port": 8000}``) or section; None is as good as not given.
    environ
        The environment; the process's own by default.
    config_file
        The file to read, else the one that ``WILDCAST_CONFIG`` names, else ``config.yaml`` in `cwd` if there is one.
    cwd
        What relative paths are relative to, wherever they stand; the process's own by default.

    Raises
    ------
    SettingsError
        With one sentence a line for each thing that is wrong.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    path = _config_path(config_file, environ, cwd)
    layers = [
        arguments_layer(arguments or {}),
        environment_layer(environ),
        file_layer(path) if path else {},
    ]
    problems: list[str] = []
    given: Layer = {}
    for layer in layers:
        _add(given, _checked(layer, problems))
    _add(given, aws_layer(environ, given))
    return replace(_build(given, problems, cwd), unused=unused_variables(environ))


def _config_path(named: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    if named is not None:
        return _existing(cwd / named, "--config")
    if environ.get(CONFIG_VARIABLE):
        return _existing(cwd / environ[CONFIG_VARIABLE], CONFIG_VARIABLE)
    usual = cwd / CONFIG_NAME
    return usual if usual.exists() else None


def _existing(path: Path, named_by: str) -> Path:
    if not path.exists():
        raise SettingsError(f"the configuration file {path}, which {named_by} names, does not exist")
    return path


def _checked(layer: Layer, problems: list[str]) -> Layer:
    """Return the layer under our own names, without what is no setting; that becomes a problem."""
    layer = _respelt(layer, problems)
    for name in [name for name in layer if name not in LEAVES]:
        problems += _no_setting(name, layer.pop(name))
    return layer


def _no_setting(name: str, given: Given) -> list[str]:
    if name in SECTIONS:
        return [not_a_section(name, given.origin)]
    return moved_sentences(name, given.value, given.origin) or [unknown_setting(name, given.origin)]


def _respelt(layer: Layer, problems: list[str]) -> Layer:
    values = {
        name.removeprefix(_OBJECT_STORAGE): given.value
        for name, given in layer.items()
        if name.startswith(_OBJECT_STORAGE)
    }
    try:
        moves = {_OBJECT_STORAGE + old: _OBJECT_STORAGE + new for old, new in renames(values).items()}
    except ConflictError as error:
        problems += conflict_sentences(error, _OBJECT_STORAGE.rstrip("."), lambda name: _origin(layer, name))
        moves = {}
        layer = {name: given for name, given in layer.items() if name.removeprefix(_OBJECT_STORAGE) not in ALIASES}
    return {moves.get(name, name): given for name, given in layer.items()}


def _add(given: Layer, layer: Layer) -> None:
    """Put a lower layer under what is `given` already."""
    above = set(given)
    for name, value in layer.items():
        if name not in above and _RIVALS.get(name) not in above:
            given[name] = value


def _origin(given: Layer, name: str) -> str:
    return given[name].origin if name in given else "default"


def _nested(given: Layer) -> dict[str, Any]:
    # Every section is there, so that its defaults are validated with the context too.
    tree: dict[str, Any] = {section: {} for section in SECTIONS}
    for name, value in given.items():
        section, _, field = name.rpartition(".")
        (tree[section] if section else tree)[field] = value.value
    return tree


def _build(given: Layer, problems: list[str], cwd: Path) -> LoadedSettings:
    try:
        settings = Settings.model_validate(_nested(given), context={"cwd": cwd})
    except ValidationError as error:
        problems += sentences(error, lambda name: _origin(given, name))
        # The validation's own error holds its input: it must not travel along.
        raise SettingsError("\n".join(problems)) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return LoadedSettings(settings, MappingProxyType({name: _origin(given, name) for name in LEAVES}))
