"""The command line, called in this process against the real API over records in memory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from tests.unit.client.faces.conftest import Server, as_earth2

from wildcast.cli.program import run
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import Workflow
from wildcast_server.domain.execution import utc_now
from wildcast_server.publish import publish_in_place
from wildcast_server.usecases.outcome import as_record

TOKEN = "canary-token"


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]

    @property
    def error(self) -> dict[str, str]:
        """The one error that was printed for a program."""
        found = json.loads(self.err)
        assert found.keys() - {"execution_id"} == {"error", "kind"}
        return found


Call = Callable[..., Ended]


class Service(Server):
    """The API, with a workflow of many kinds of parameters, and executions that end as a test needs them."""

    def start(self) -> None:
        if "many" not in self.workflows:
            self.workflows.add(Many)
        super().start()

    def ended(self, number: int, write: Callable[[Path], Any], **fields: Any) -> str:
        """Record an execution that has published what `write` writes into its directory; return its id."""
        name = self.add(number, **fields)
        self.run(name)
        self.publish(name)
        directory = self.directory / name
        directory.mkdir()
        write(directory)
        self.records.change(
            name,
            expected=Status.PENDING_RESULTS,
            to=Status.COMPLETED,
            ended_at=utc_now(),
            published=as_record(publish_in_place(directory, name), 1),
        )
        return name

    def completed(self, number: int = 1) -> str:
        """Record an execution that has completed with ``a.txt``; return its id."""
        return self.ended(number, lambda directory: (directory / "a.txt").write_text("text"))

    def failed(self, number: int = 1) -> str:
        name = self.add(number)
        self.run(name)
        self.fail(name)
        return name


class Size(StrEnum):
    """How large."""

    SMALL = "small"
    LARGE = "large"


class Many(Workflow):
    """Take all kinds of parameters.

    And say more about it.
    """

    name = "many"

    class Parameters(BaseModel):
        """Of many kinds."""

        source: str = Field(description="Where it comes from.")
        steps: int = Field(3, ge=1, le=100, description="How many.")
        scale: float = 1.5
        flag: bool = False
        start: datetime = datetime(2026, 1, 28)  # noqa: DTZ001 - as typed
        day: date | None = None
        lead: timedelta = timedelta(hours=6)
        names: list[str] | None = None
        levels: list[int] = [500, 850]
        mode: Literal["fast", "exact", "7"] = "fast"
        size: Size = Size.SMALL
        chunks: dict[str, int] | None = None
        either: int | str | None = None

    def run(self, parameters: Any, context: Any) -> None:
        """Write nothing."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A user with nothing configured, in an empty directory; the directory of the configuration."""
    for name in ("WILDCAST_URL", "WILDCAST_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home" / ".config" / "wildcast"


@pytest.fixture
def api(tmp_path) -> Iterator[Service]:
    """The API, which a test can meddle with, stop and start again."""
    (tmp_path / "store").mkdir()
    server = Service(tmp_path / "store")
    yield server
    server.stop()


@pytest.fixture
def earth2():
    """What makes the server one with few calls: ``api.meddle = earth2``."""
    return as_earth2


@pytest.fixture
def typed(capsysbinary) -> Call:
    """Call the program with words; give how it ended."""

    def call(*words: object) -> Ended:
        capsysbinary.readouterr()
        code = run([str(word) for word in words])
        out, err = capsysbinary.readouterr()
        assert TOKEN.encode() not in out + err
        assert b"Traceback" not in err
        return Ended(code, out, err.decode())

    return call


@pytest.fixture
def call(api, monkeypatch, typed) -> Call:
    """Call the program with words, for the API; give how it ended."""
    monkeypatch.setenv("WILDCAST_URL", api.url)
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    return typed
