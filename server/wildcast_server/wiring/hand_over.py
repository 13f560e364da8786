"""What a supervisor hands over to a child, and what the child says back, each through a pipe of its own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr

from wildcast_server.settings import Settings


class HandOver(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a child begins with."""

    settings: dict[str, Any]
    """As `plain` makes it."""
    arguments: dict[str, Any]
    sockets: dict[str, int]
    """The descriptors of listening sockets, by name."""
    lifeline: int
    """The descriptor that ends when the parent does."""
    told: int
    """The descriptor to which `Told` is written."""

    def __repr__(self) -> str:
        # The settings hold secrets.
        return f"HandOver(arguments={self.arguments!r}, sockets={self.sockets!r})"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """That a child is up, or why it cannot be."""

    error: str | None = None


def plain(settings: Settings) -> dict[str, Any]:
    """Return the tree as JSON values, secrets included."""
    values = _plain(settings)
    assert isinstance(values, dict)  # noqa: S101 - for the type checker
    return values


def settings_of(handed: HandOver) -> Settings:
    """Return the tree that was handed over."""
    return Settings.model_validate(handed.settings, context={"cwd": Path.cwd()})


def receive(descriptor: int) -> HandOver:
    """Read what the parent hands over; called once, in the child."""
    with os.fdopen(descriptor, "rb") as file:
        return msgspec.json.decode(file.read(), type=HandOver)


def tell(handed: HandOver, told: Told) -> None:
    """Tell the parent, once."""
    try:
        write_whole(handed.told, msgspec.json.encode(told))
    except BrokenPipeError:
        # It is gone, and the lifeline says so.
        return


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it, and close the descriptor."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
