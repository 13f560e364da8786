"""Discovery: workflows from directories of Python files.

Every ``*.py`` whose name begins with neither ``_`` nor ``.`` is imported on its own, under a module name that no other
file has. Its directory is not put on ``sys.path``: what workflows share belongs into an installed package.
"""

import hashlib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

from wildcast_server.domain.functions import is_marked
from wildcast_server.domain.registry import Registry
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import SettingsError, WorkflowLoadError

REASON = "NO_WORKFLOW_BECAUSE"
"""The variable by which a file says why it gives no workflow, if that is meant to be so."""


class Dialect(Protocol):
    """How files are read whose workflows have another base class than ours."""

    def importing(self, path: Path) -> AbstractContextManager[None]:
        """Surround the import of one file, and the call of `workflows` for it.

        Whatever it changes while a file is imported is as before afterwards, also after an import that fails.
        """

    def workflows(self, module: ModuleType) -> Iterable[type[Workflow] | WorkflowLoadError]:
        """Return those workflows of an imported file that are not ours already, as classes that are.

        An error in the place of a class stands for one that cannot be used, and says which; one that is raised
        fails the whole file.
        """


class NativeDialect:
    """Files that know our base class alone."""

    def importing(self, path: Path) -> AbstractContextManager[None]:  # noqa: ARG002 - the port's signature
        """Surround the import with nothing."""
        return nullcontext()

    def workflows(self, module: ModuleType) -> Iterable[type[Workflow] | WorkflowLoadError]:  # noqa: ARG002 - as above
        """Return nothing."""
        return ()


@dataclass(frozen=True)
class DiscoveryFailure:
    """A file that gave no workflow, or not all of its workflows."""

    path: Path
    message: str
    """One sentence that names the file, the line where there is one, and the reason."""
    error: BaseException
    """For the log: it has the traceback."""


@dataclass(frozen=True)
class Discovery:
    """What was found, and what could not be loaded."""

    registry: Registry
    failures: tuple[DiscoveryFailure, ...]
    empty: Mapping[Path, str | None] = field(default_factory=dict)
    """Files that gave no workflow although nothing failed, each with the reason that it names in `REASON`."""


def discover(
    directories: Iterable[Path], dialect: Dialect | None = None, *, refused: Mapping[Path, str] | None = None
) -> Discovery:
    """Load the workflows of all files in `directories`, in that order and then by file name.

    A file that fails becomes a failure and harms no other one; so does the second of two workflows of one name.

    Parameters
    ----------
    dialect
        Which other workflows than our own are understood; none by default.
    refused
        Files that are not to be imported, each with the reason; they are failures.

    Raises
    ------
    SettingsError
        If a directory is missing or cannot be listed.
    """
    return discover_files(workflow_files(directories), dialect, refused=refused)


def discover_file(path: Path, dialect: Dialect | None = None) -> Discovery:
    """Load the workflows of one file."""
    return discover_files([path], dialect)


def discover_files(
    files: Iterable[Path], dialect: Dialect | None = None, *, refused: Mapping[Path, str] | None = None
) -> Discovery:
    """Load the workflows of these files, in this order; as `discover`."""
    registry = Registry()
    failures: list[DiscoveryFailure] = []
    empty: dict[Path, str | None] = {}
    for path in files:
        if refused and path in refused:
            failures.append(_refusal(path, refused[path]))
        else:
            failures.extend(_load_into(registry, empty, path, dialect or NativeDialect()))
    return Discovery(registry, tuple(failures), empty)


def workflow_files(directories: Iterable[Path]) -> list[Path]:
    """List the files that `discover` loads, in its order; raises `SettingsError` as it does."""
    # Resolved, so that a directory that is named twice counts once.
    unique = dict.fromkeys(Path(directory).resolve() for directory in directories)
    return [path for directory in unique for path in _files(directory)]


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file as it is now, in hexadecimal; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _files(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError as error:
        raise SettingsError(
            f"the workflow directory {directory} cannot be listed ({error.strerror}): create it, or correct the setting"
        ) from error
    return [path for path in found if path.suffix == ".py" and path.name[0] not in "_." and path.is_file()]


def _refusal(path: Path, reason: str) -> DiscoveryFailure:
    message = f"{path} cannot be imported: {reason}"
    return DiscoveryFailure(path, message, WorkflowLoadError(message))


def _load_into(
    registry: Registry, empty: dict[Path, str | None], path: Path, dialect: Dialect
) -> Iterable[DiscoveryFailure]:
    try:
        with dialect.importing(path), _own_logging():
            module, sha256 = _import(path)
            candidates = [*_candidates(module), *dialect.workflows(module)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a file may even call sys.exit(), and harms no other one
        yield DiscoveryFailure(path, f"{path} cannot be imported: {_reason(error, path)}", error)
        return
    if not candidates:
        reason = vars(module).get(REASON)
        empty[path] = None if reason is None else str(reason)
    for candidate in candidates:
        try:
            if isinstance(candidate, WorkflowLoadError):
                raise candidate
            registry.add(candidate, path, sha256)
        except WorkflowLoadError as error:
            message = str(error)
            yield DiscoveryFailure(path, message if str(path) in message else f"{path}: {message}", error)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Give the root logger back as it was: many files call `logging.basicConfig`, and it is the service's."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class _HashingLoader(SourceFileLoader):
    """Compiles exactly what it hashes, and leaves no compiled files in the directories of workflows.

    Python's own takes a compiled file for the source's if time (in seconds) and size agree.
    """

    sha256 = ""

    def get_code(self, _fullname: str) -> CodeType:
        source = self.get_data(self.path)
        self.sha256 = hashlib.sha256(source).hexdigest()
        return self.source_to_code(source, self.path)


def _import(path: Path) -> tuple[ModuleType, str]:
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"wildcast_workflow_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{digest}"
    loader = _HashingLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before the import, as dataclasses and pickle look their module up
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module, loader.sha256


def _candidates(module: ModuleType) -> list[Any]:
    """Return what the file itself defines, and not what it imports; each once, however many names it has."""
    values = {id(value): value for value in vars(module).values() if _is_candidate(value, module.__name__)}
    return list(values.values())


def _is_candidate(value: Any, module_name: str) -> bool:
    if is_marked(value):
        return bool(value.__module__ == module_name)
    if not (isinstance(value, type) and issubclass(value, Workflow)):
        return False
    return value.__module__ == module_name and not inspect.isabstract(value)


def _reason(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
