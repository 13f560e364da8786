"""Discovery: workflows from directories of Python files.

Every ``*.py`` whose name begins with neither ``_`` nor ``.`` is imported on its own, under a module name that no other
file has. Its directory is not put on ``sys.path``: what workflows share belongs into an installed package.
"""

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from wildcast_server.domain.functions import is_marked
from wildcast_server.domain.registry import Registry
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import SettingsError, WorkflowLoadError


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


def discover(directories: Iterable[Path]) -> Discovery:
    """Load the workflows of all files in `directories`, in that order and then by file name.

    A file that fails becomes a failure and harms no other one; so does the second of two workflows of one name.

    Raises
    ------
    SettingsError
        If a directory is missing or cannot be listed.
    """
    registry = Registry()
    failures: list[DiscoveryFailure] = []
    # Resolved, so that a directory that is named twice counts once.
    for directory in dict.fromkeys(Path(directory).resolve() for directory in directories):
        for path in _files(directory):
            failures.extend(_load_into(registry, path))
    return Discovery(registry, tuple(failures))


def _files(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError as error:
        raise SettingsError(
            f"the workflow directory {directory} cannot be listed ({error.strerror}): create it, or correct the setting"
        ) from error
    return [path for path in found if path.suffix == ".py" and path.name[0] not in "_." and path.is_file()]


def _load_into(registry: Registry, path: Path) -> Iterable[DiscoveryFailure]:
    try:
        module = _import(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a file may even call sys.exit(), and harms no other one
        yield DiscoveryFailure(path, f"{path} cannot be imported: {_reason(error, path)}", error)
        return
    for candidate in _candidates(module):
        try:
            registry.add(candidate, path)
        except WorkflowLoadError as error:
            yield DiscoveryFailure(path, str(error), error)


def _import(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"wildcast_workflow_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before the import, as dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


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
