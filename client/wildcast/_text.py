"""Times, sizes, labels and names as people read them."""

from datetime import UTC, datetime
from typing import Any


def printable(text: str) -> str:
    """Return text whose control characters, by which a name could rewrite the terminal, are shown and not sent."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character) for character in text
    )


def one_line(text: str) -> str:
    """Return text in one line, as `printable`."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", errors="replace").decode()


def size_text(number: float) -> str:
    """Return a number of bytes, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:  # noqa: PLR2004 - SI
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def moment_text(moment: Any) -> str:
    """Return a moment in UTC, to the second, without a zone taken for UTC; nothing for what is none."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return ""
    if not isinstance(moment, datetime):
        return ""
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%SZ}"


def labels_text(labels: Any) -> str:
    """Return labels with their values; nothing for what is none."""
    return ", ".join(f"{name}={value}" for name, value in labels.items()) if isinstance(labels, dict) else ""
