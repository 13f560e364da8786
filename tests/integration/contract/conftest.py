"""Services with every part of them, for every row of the wire contract's first table."""

import time
from datetime import datetime

import httpx
import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution
from wildcast_server.jobs.base import Job
from wildcast_server.jobs.dbos_engine import DbosQueue
from wildcast_server.settings import load_settings
from wildcast_server.wiring.database import database_url, open_records
from wildcast_server.wiring.stack import Stack

WORKFLOWS = '''
import time
from pathlib import Path
from wildcast_server import RunContext, workflow


@workflow
def writes(context: RunContext, text: str = "0123456789", name: str = "a.txt") -> None:
    """Write a text into a file."""
    context.progress(1, 2, phase="writing")
    path = context.output_directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@workflow
def raises(context: RunContext) -> None:
    """Fail."""
    raise ArithmeticError("no convergence")


@workflow
def waits(context: RunContext, until: str) -> None:
    """Wait until a file is there."""
    while not Path(until).exists():
        context.check_cancelled()
        time.sleep(0.01)
    (context.output_directory / "done.txt").write_text("done")
'''


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """Where everything lies."""
    root = tmp_path_factory.mktemp("contract")
    (root / "workflows").mkdir()
    (root / "workflows" / "some.py").write_text(WORKFLOWS)
    return root


class Service:
    """A stack, a client of its API, and its records."""

    def __init__(self, root, data, forks, *, with_workers=True, **values) -> None:
        small = {
            "data_dir": data,
            "api.port": 0,
            "edge.port": 0,
            "workflows.directories": [root / "workflows"],
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": False,
        }
        settings = load_settings({**small, **values}, environ={}, cwd=root).settings
        self.stack = Stack(settings, with_workers=with_workers, forks=forks)
        self.stack.__enter__()
        self.http = httpx.Client(base_url=self.stack.api_url, timeout=60)
        self.records = open_records(settings)
        self.jobs = DbosQueue(database_url(settings))

    def close(self):
        self.records.close()
        self.jobs.close()
        self.http.close()
        self.stack.__exit__(None, None, None)

    def submit(self, workflow="writes", **parameters):
        answer = self.http.post(f"/v1/infer/{workflow}", json={"parameters": parameters})
        assert answer.status_code == 200, answer.text
        return answer.json()["execution_id"]

    def ended(self, name, workflow="writes"):
        deadline = time.monotonic() + 90
        while not Status((answer := self.http.get(f"/v1/infer/{workflow}/{name}/status").json())["status"]).is_final:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return answer

    def enqueue(self, execution, connection):
        job = Job(execution.job_id, "compute", "nobody", execution.id, execution.sequence)
        self.jobs.enqueue(job, connection)

    def recorded(self, status, **changes):
        """Record an execution that stands somewhere, and that nothing works on."""
        now = time.time_ns()
        execution = Execution(id=f"exec_1_{now % 2**32:08x}", workflow_name="writes", parameters={}, jobs=1)
        # Its job waits where no worker takes it: an execution without a job would be given one.
        self.records.insert(execution, within=self.enqueue)
        self.records.change(execution.id, expected=Status.QUEUED, to=status, **changes)
        return execution.id


@pytest.fixture(scope="session")
def local(directory, forks):
    """A service that sends results itself."""
    service = Service(directory, directory / "local", forks)
    yield service
    service.close()


@pytest.fixture(scope="session")
def stored(directory, postgres, forks):
    """A service whose results are read by signed URL, and whose records and jobs are in Postgres."""
    values = {"object_storage.enabled": True, "database.url": postgres.complete()}
    service = Service(directory, directory / "stored", forks, **values)
    yield service
    service.close()


@pytest.fixture(scope="session")
def completed(local):
    """The id of an execution that has completed; for tests that only look."""
    name = local.submit(text="0123456789")
    local.ended(name)
    return name


@pytest.fixture(params=["local", "stored"])
def service(request):
    """One after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def start(directory, tmp_path, forks):
    """Start a service with settings of the test's own, which runs nothing unless it is asked to."""
    opened = []

    def begin(*, with_workers=False, **values):
        opened.append(Service(directory, tmp_path / f"data{len(opened)}", forks, with_workers=with_workers, **values))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def is_error():
    """Assert the status, the three members at the top level, and a sentence that has the words."""

    def check(answer, status, *words: str):
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert body.keys() == {"error", "details", "detail"}
        assert body["error"] == body["detail"]
        for word in words:
            assert word in body["error"]

    return check


@pytest.fixture(scope="session")
def moment():
    """Read a time of the API; it must know its zone."""

    def read(text):
        time = datetime.fromisoformat(text)
        assert time.tzinfo is not None
        return time

    return read
