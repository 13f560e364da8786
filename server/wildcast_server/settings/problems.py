"""What is wrong with the settings, one sentence each: the setting, where it came from, what is allowed."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wildcast_server.settings.conflicts import ConflictError
from wildcast_server.settings.tree import LEAVES, SECTIONS

_HIDDEN = {"object_storage.cloudfront_private_key_path", "workflows.config"}
"""Settings whose values may be secrets although their type does not say so."""

_SECRETS = _HIDDEN | {
    f"{section}.{name}"
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
    if "SecretStr" in str(field.annotation)
}

_SHOWN = 60

_REASONS: dict[str, str] = {
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "string_type": "it must be text, in quotes if it looks like something else",
    "string_too_short": "it must not be empty",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "literal_error": "it must be {expected}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "path_type": "it must be a path",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping",
}

Origins = Callable[[str], str]
"""Where the value of a dotted name came from."""


def unknown_setting(name: str, origin: str) -> str:
    """Say that there is no such setting, and which one may have been meant."""
    near = difflib.get_close_matches(name, LEAVES if "." in name else [*LEAVES, *SECTIONS], n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else "wildcast-server config --defaults lists all there are"
    return f"there is no setting {name} ({origin}): {hint}"


def not_a_section(name: str, origin: str) -> str:
    """Say that a section has something else than settings in it."""
    return f"the section {name} ({origin}) must be a mapping of settings"


def conflict_sentences(error: ConflictError, section: str, origins: Origins) -> Iterator[str]:
    """Say what contradicts what, and where each came from."""
    for conflict in error.conflicts:
        where = ", ".join(
            f"{name}: {origins(f'{section}.{name}')}" for name in conflict.names if origins(f"{section}.{name}")
        )
        yield f"in {section}, {conflict.sentence} ({where})"


def sentences(error: ValidationError, origins: Origins) -> list[str]:
    """Translate what the validation found; no secret is repeated."""
    found = (sentence for details in error.errors(include_url=False) for sentence in _sentences(details, origins))
    return list(dict.fromkeys(found))


def _sentences(details: ErrorDetails, origins: Origins) -> Iterable[str]:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, ConflictError):
        return conflict_sentences(cause, str(details["loc"][0]), origins)
    name = ".".join(str(part) for part in details["loc"])
    leaf = next((leaf for leaf in LEAVES if name == leaf or name.startswith(f"{leaf}.")), name)
    return [f"the setting {name} ({origins(leaf)}) cannot be used: {_reason(details, cause)}{_shown(details, leaf)}"]


def _reason(details: ErrorDetails, cause: Any) -> str:
    if cause is not None:
        return str(cause)
    template = _REASONS.get(details["type"])
    return template.format(**details.get("ctx", {})) if template else details["msg"]


def _shown(details: ErrorDetails, leaf: str) -> str:
    value = details["input"]
    # Our own validators say what is wrong themselves, and keep back what may be a secret.
    if leaf in _SECRETS or details["type"] == "value_error" or not isinstance(value, str | int | float):
        return ""
    return f", not {str(value)[:_SHOWN]!r}" if isinstance(value, str) else f", not {value}"
