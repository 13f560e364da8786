"""What the body of an error says."""

from typing import Any

import msgspec

from wildcast._errors import harmless

LONGEST_SENTENCE = 300
"""Characters of a server's sentence that go into a message about a file."""


class Problem(msgspec.Struct):
    """An error's body, in our form or in FastAPI's."""

    error: str | None = None
    details: Any = None
    detail: Any = None

    @property
    def said(self) -> str | None:
        """The server's sentence, if there is one."""
        if self.error:
            return self.error
        # The Earth2Studio server puts all that it says below `detail`.
        said = self.detail.get("error") if isinstance(self.detail, dict) else self.detail
        return said if isinstance(said, str) and said else None


def parse_problem(body: bytes) -> Problem | None:
    """Parse an error's body; None for anything but a JSON object of that form, such as a page for a browser."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return None


def short_sentence(body: bytes) -> str | None:
    """Return what an error's body says, in one line of `LONGEST_SENTENCE` characters; None if it says nothing."""
    problem = parse_problem(body)
    said = "" if problem is None else problem.said or ""
    line = " ".join("".join(character if character.isprintable() else " " for character in said).split())
    short = line if len(line) <= LONGEST_SENTENCE else f"{line[: LONGEST_SENTENCE - 1]}…"
    return harmless(short) or None
