"""A workflow's parameters as a table that one can read."""

import json
from collections.abc import Mapping
from typing import Any

from wildcast.cli.output import table
from wildcast.cli.values import alternatives

_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_FORMATS = {"date-time": "time", "date": "date", "duration": "duration", "time": "time of day"}
_KINDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null", "object": "object"}
REQUIRED = "(required)"


def schema_text(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """Return what a workflow takes: its parameters, their kinds and what holds if they are not given."""
    required = set(schema.get("required", ()))
    rows = [
        (parameter, kind_text(described, schema), _default(parameter, described, required), _words(described))
        for parameter, described in schema.get("properties", {}).items()
    ]
    head = f"{name}: {description}" if description else name
    if not rows:
        return f"{head}\n\nIt takes no parameters."
    return f"{head}\n\n{table([('PARAMETER', 'KIND', 'DEFAULT', 'DESCRIPTION'), *rows])}"


def kind_text(described: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return in words which values are allowed."""
    kinds = [_kind(kind, schema) for kind in alternatives(described, schema)]
    return " or ".join(dict.fromkeys(kinds)) or "anything"


def _kind(kind: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "enum" in kind or "const" in kind:
        return " | ".join(map(str, kind.get("enum", [kind.get("const")])))
    if kind.get("type") == "array":
        return f"list of {kind_text(kind.get('items', {}), schema)}"
    name = _FORMATS.get(kind.get("format", ""), "") if kind.get("type") == "string" else ""
    name = name or _KINDS.get(kind.get("type", ""), kind.get("type", "anything"))
    bounds = [f"{words} {kind[word]}" for word, words in _BOUNDS.items() if word in kind]
    return f"{name}, {' and '.join(bounds)}" if bounds else name


def _default(name: str, described: Mapping[str, Any], required: set[str]) -> str:
    if name in required:
        return REQUIRED
    if "default" not in described:
        return ""
    value = described["default"]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(described: Mapping[str, Any]) -> str:
    return " ".join(str(described.get("description", "")).split())
