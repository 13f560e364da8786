"""The package: what it exports, what importing it costs, and that it leaves nothing open."""

import inspect
import pickle
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wildcast
from wildcast import _errors

EXPORTED = [
    "AccessRefusedError",
    "ApiError",
    "AsyncClient",
    "AsyncExecution",
    "AsyncResult",
    "Client",
    "ConfigError",
    "ConflictError",
    "DamagedManifestError",
    "DatasetError",
    "DiskFullError",
    "EndEvent",
    "Event",
    "Execution",
    "ExecutionCancelledError",
    "ExecutionError",
    "ExecutionFailedError",
    "ExecutionStatus",
    "IdempotencyConflictError",
    "InvalidParametersError",
    "InvalidPatternError",
    "InvalidUrlError",
    "LostObjectError",
    "MissingFileError",
    "NoListingError",
    "NotAFileError",
    "NotAuthorizedError",
    "OriginRefusedError",
    "PendingFileError",
    "ProgressEvent",
    "RangeNotSatisfiableError",
    "ReadError",
    "ReadOnlyError",
    "Result",
    "ResultChangedError",
    "ResultsExpiredError",
    "ResultsPendingError",
    "Retry",
    "ServerBusyError",
    "ServerUnavailableError",
    "SignedFileSystem",
    "SmallChunksWarning",
    "StaleObjectError",
    "StatusEvent",
    "StoreUnavailableError",
    "TransferBrokenError",
    "UnexpectedAnswerError",
    "UnknownExecutionError",
    "UnknownWorkflowError",
    "UnlistedWarning",
    "UnsafeDataError",
    "UnsafePathError",
    "UnsupportedError",
    "UploadEvent",
    "UrlExpiredError",
    "WaitTimeoutError",
    "WildcastError",
    "__version__",
    "create_cloudfront_mapper",
    "get_mapper",
]

ERRORS = [kind for _, kind in inspect.getmembers(_errors, inspect.isclass) if kind.__module__ == _errors.__name__]


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_exported_names_are_these():
    """The package's API changes only together with this list."""
    assert sorted(wildcast.__all__) == sorted(EXPORTED)
    assert all(getattr(wildcast, name) is not None for name in EXPORTED)
    assert set(EXPORTED) <= set(dir(wildcast))


def test_an_unknown_name_is_an_attribute_error():
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="Clinet"):
        _ = wildcast.Clinet


def test_importing_the_package_imports_nothing_else():
    """Neither a dependency nor a module of its own is loaded before it is used."""
    code = (
        "import sys; before = set(sys.modules); import wildcast;"
        "print([m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names])"
    )
    assert python(code).stdout.strip() == "['wildcast']"


def test_a_client_waits_for_no_http_library():
    """What talks to the API, and what reads files, are loaded when they do so."""
    code = (
        "import sys; from wildcast import Client; Client();"
        "print({'aiohttp', 'fsspec', 'httpx', 'numpy', 'xarray', 'zarr'} & set(sys.modules))"
    )
    assert python(code).stdout.strip() == "set()"


def test_importing_the_package_is_quick():
    """The import takes well under 150 ms, by the median of several."""
    code = "import time; t = time.perf_counter(); import wildcast; print(time.perf_counter() - t)"
    assert statistics.median(float(python(code).stdout) for _ in range(5)) < 0.15


def test_the_help_that_the_document_names_draws_the_tree():
    """In a fresh interpreter, as it stands there."""
    document = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
    (call,) = re.findall(r"`(help\(.*?\))`", document)
    assert "├── ApiError" in python(f"import wildcast; {call}").stdout


def test_every_error_is_drawn_in_the_tree():
    """The picture that opens the module names each class under its base."""
    stack, drawn = {}, {}
    for line in (_errors.__doc__ or "").splitlines():
        name = line.strip("│├└─ ").split(" ")[0]
        if name.endswith("Error") and name in vars(_errors):
            depth = len(line) - len(line.lstrip("│├└─ "))
            stack = {**{d: n for d, n in stack.items() if d < depth}, depth: name}
            drawn[name] = next((n for d, n in sorted(stack.items(), reverse=True) if d < depth), None)
    assert drawn == {
        kind.__name__: None if kind is _errors.WildcastError else kind.__bases__[0].__name__ for kind in ERRORS
    }


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_survive_pickling_and_say_their_sentence(kind):
    """An error that a dask worker raises arrives with its class and sentence."""
    error = pickle.loads(pickle.dumps(kind("What happened.")))  # noqa: S301 - our own bytes
    assert type(error) is kind
    assert str(error) == "What happened."


def test_only_a_missing_file_is_a_file_not_found():
    """Zarr reads FileNotFoundError as fill values, so nothing may be one that is or may be a file."""
    zarrs = (FileNotFoundError, IsADirectoryError, NotADirectoryError, KeyError)
    assert [kind for kind in ERRORS if issubclass(kind, zarrs)] == [_errors.MissingFileError, _errors.NotAFileError]


def test_every_error_is_exported():
    """Whatever the client raises can be caught by its public name."""
    assert {kind.__name__ for kind in ERRORS} <= set(wildcast.__all__)


READ_AND_LEAVE = """
import asyncio, warnings, sys
import wildcast
fs = wildcast.SignedFileSystem({url!r})
assert fs.cat_file("a.bin") == b"data"      # on fsspec's loop
import xarray, zarr                          # whose clean-up at exit is registered later
mapper = fs.get_mapper("")
async def main():
    assert await fs._cat_file("a.bin") == b"data"
asyncio.run(main())                          # in a loop that ends
loop = asyncio.new_event_loop()
loop.run_until_complete(main())              # in a loop that is left
from zarr.core.sync import sync
sync(main())                                 # on zarr's loop
print("read")
"""


def test_nothing_is_left_open_at_exit(cdn):
    """A program that reads on every kind of loop and just ends shows no warning and ends at once."""
    cdn.objects["a.bin"] = b"data"
    started = time.monotonic()
    done = python(READ_AND_LEAVE.format(url=cdn.signed()))
    assert (done.stdout, done.returncode) == ("read\n", 0)
    assert "aiohttp" not in done.stderr
    assert "Unclosed" not in done.stderr
    assert time.monotonic() - started < 60
