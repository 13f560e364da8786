"""What a command prints: for people, or as JSON; answers on standard output, all else on standard error."""

import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from wildcast._text import one_line, printable
from wildcast.cli.exits import kind_of, sentence_of

GAP = "  "


class Output:
    """Where a command's answers go.

    Parameters
    ----------
    as_json
        Whether programs read them: one JSON document, or one a line where there are many.
    is_quiet
        Whether notes and bars are left out; errors never are.
    """

    def __init__(self, *, as_json: bool = False, is_quiet: bool = False) -> None:
        self.as_json = as_json
        self.is_quiet = is_quiet
        self.execution_id: str | None = None
        """The execution that this command has submitted: whoever hears of an error must be able to find it again."""

    def answer(self, value: Any, text: str) -> None:
        """Print the one answer of a command: `value` as JSON, or `text`."""
        self._write(_pretty(value) if self.as_json else printable(text).encode(errors="backslashreplace"))

    def line(self, value: Any, text: str) -> None:
        """Print one of many answers."""
        line = encoded(value) if self.as_json else one_line(text).encode(errors="backslashreplace")
        self._write(line)

    def note(self, text: str) -> None:
        """Tell people something that is not the answer."""
        if not (self.is_quiet or self.as_json):
            self._say(text)

    def heading(self, text: str) -> None:
        """Print what stands above lines for people, where no pipe gets it."""
        if not (self.is_quiet or self.as_json):
            sys.stderr.write(f"{text}\n")

    def failure(self, error: BaseException) -> None:
        """Say what went wrong."""
        sentence = sentence_of(error)
        if self.as_json:
            about = getattr(error, "execution_id", None) or self.execution_id
            known = {"execution_id": about} if about else {}
            sys.stderr.write(encoded({"error": sentence, "kind": kind_of(error), **known}).decode() + "\n")
            return
        self._say(sentence)

    def data(self, blocks: Iterable[bytes]) -> None:
        """Write bytes as they are."""
        stream = binary_output()
        for block in blocks:
            stream.write(block)
            stream.flush()

    def _write(self, line: bytes) -> None:
        self.data([line + b"\n"])

    def _say(self, text: str) -> None:
        for line in printable(text).splitlines():
            sys.stderr.write(f"wildcast: {line}\n")


def binary_output() -> IO[bytes]:
    """Return standard output for bytes; what is written to it as text before comes first."""
    sys.stdout.flush()
    return sys.stdout.buffer


def encoded(value: Any) -> bytes:
    """Return a value as JSON in one line; numpy's values as Python's."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    from wildcast._encode import to_json

    kind = getattr(getattr(value, "dtype", None), "kind", "")
    # Its own list of them, because `to_json` refuses a NaN, and a description may have one.
    return value.tolist() if kind and kind in "biufSU" else to_json(value)


def _pretty(value: Any) -> bytes:
    import msgspec

    return msgspec.json.format(encoded(value), indent=2)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns, each as wide as its widest cell."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    return "\n".join(GAP.join(map(str.ljust, row, widths)).rstrip() for row in rows)
