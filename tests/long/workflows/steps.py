"""A workflow that says when it begins and when it ends."""

import os
import time
from pathlib import Path

from wildcast_server import RunContext, workflow

FILES = 3

# Open beforehand, so that little lies between a workflow's call and its note of it.
NOTES = os.open(Path(os.environ["STARTS"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)


def _note(what: str, execution_id: str) -> None:
    # In one write, so that lines of several processes never mix, and one that is killed leaves a whole line or none.
    os.write(NOTES, f"{what} {execution_id}\n".encode())


@workflow
def writes(context: RunContext, seconds: float = 0.3, text: str = "hello") -> None:
    """Write a few files, and take a moment."""
    _note("begun", context.execution_id)
    for number in range(FILES):
        (context.output_directory / f"{number}.txt").write_text(f"{text} {number}\n" * 100)
        context.progress(number + 1, FILES)
        time.sleep(seconds / FILES)
    _note("ended", context.execution_id)
