"""``name=value`` on the command line."""

from collections.abc import Iterable

from wildcast.cli.invocation import refuse


def split_pair(text: str, what: str) -> tuple[str, str]:
    """Return name and value of ``name=value``."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        # Not the text itself: a value that lost its name may be anything.
        refuse(f"A {what} has the form name=value.")
    return name, value


def read_pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """Return pairs by their names, each given once."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, value = split_pair(text, what)
        if name in pairs:
            refuse(f"The {what} {name!r} is given twice.")
        pairs[name] = value
    return pairs
