"""The import paths of Earth2Studio's server, there for a while.

Only those of the server: everything else of ``earth2studio`` comes from the real package where that is installed, and
is missing with a sentence that says so where it is not.
"""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from wildcast_server.compat.e2workflow import AutoParameters, Earth2Workflow
from wildcast_server.compat.models import (
    WorkflowArgsBase,
    WorkflowConfig,
    WorkflowParameters,
    WorkflowProgress,
    WorkflowResult,
    WorkflowStatus,
)
from wildcast_server.compat.output import BackendProgress
from wildcast_server.compat.registry import WorkflowRegistry, loading
from wildcast_server.compat.workflow import Workflow

PACKAGES = ("earth2studio.serve.server", "api_server.workflow")
"""The packages that are ours while the paths are there; the second name is the older one."""

PROVIDED = frozenset(f"{package}{module}" for package in PACKAGES for module in ("", ".workflow", ".e2workflow"))

PARENTS = frozenset({"earth2studio", "earth2studio.serve", "api_server"})
"""Their parents: empty packages, where no real ones are installed."""

FROM_EXTRA = frozenset({"earth2studio", "loguru", "torch"})
"""What workflow files of Earth2Studio's manner import, and what comes with the extra ``earth2``."""

ADVICE = "install it with: pip install 'wildcast[earth2]'"

EXPORTED = (
    AutoParameters,
    BackendProgress,
    Earth2Workflow,
    Workflow,
    WorkflowArgsBase,
    WorkflowConfig,
    WorkflowParameters,
    WorkflowProgress,
    WorkflowRegistry,
    WorkflowResult,
    WorkflowStatus,
)

_LOCK = threading.RLock()
_ABSENT = object()


class _Finder(MetaPathFinder, Loader):
    """Finds our modules before any other finder, or empty parents behind all of them."""

    def __init__(self, names: frozenset[str], content: Mapping[str, Any]) -> None:
        self._names = names
        self._content = content

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Describe a module that is ours."""
        if fullname not in self._names:
            return None
        return ModuleSpec(fullname, self, origin="wildcast", is_package=fullname in {*PACKAGES, *PARENTS})

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module of ours."""
        vars(module).update(self._content)


class _LastFinder(_Finder):
    """Finds the empty parents, and says what nobody has found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Describe an empty parent.

        Raises
        ------
        ModuleNotFoundError
            For what would be in a package of ours.
        """
        spec = super().find_spec(fullname, path, target)
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if spec is not None or parent is None or not _is_ours(parent):
            return spec
        if parent.__name__ in PACKAGES:
            raise ModuleNotFoundError(f"No module named {fullname!r}: wildcast has no such part", name=fullname)
        top = fullname.partition(".")[0]
        # By the top's name: under the submodule's own, `from package import submodule` would hide this sentence.
        raise ModuleNotFoundError(f"No module named {fullname!r}: the package {top!r} is not installed", name=top)


@contextmanager
def import_paths() -> Iterator[WorkflowRegistry]:
    """Provide the paths in this process, and give the registry that files register in meanwhile.

    Afterwards ``sys.modules``, ``sys.meta_path`` and the packages' attributes are as they were, except for the real
    modules that were imported. One thread at a time; the same one may nest.
    """
    with _LOCK, loading() as registry:
        content = {value.__name__: value for value in EXPORTED} | {"workflow_registry": registry}
        first, last = _Finder(PROVIDED, content), _LastFinder(PARENTS, {})
        hidden = _hide()
        sys.meta_path.insert(0, first)
        sys.meta_path.append(last)
        try:
            yield registry
        except ModuleNotFoundError as error:
            _advise(error)
            raise
        finally:
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in (first, last)]
            _remove_ours()
            _restore(hidden)


def _advise(error: ModuleNotFoundError) -> None:
    """Say how to install what the extra brings; where paths nest, once."""
    if error.name in FROM_EXTRA and ADVICE not in str(error):
        error.msg = f"{error.msg}; {ADVICE}"


def _hide() -> tuple[dict[str, ModuleType], dict[str, Any]]:
    """Take away what stands under our names, and return it: modules, and attributes of their parents."""
    # The empty parents are of ours, too, where a load is within another.
    found = list(sys.modules.items())
    modules = {name: module for name, module in found if _is_below_ours(name) or _is_ours(module)}
    for name in modules:
        del sys.modules[name]
    return modules, {name: _take_attribute(name) for name in PACKAGES}


def _restore(hidden: tuple[dict[str, ModuleType], dict[str, Any]]) -> None:
    modules, attributes = hidden
    sys.modules.update(modules)
    for name, value in attributes.items():
        if value is not _ABSENT:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, value)


def _remove_ours() -> None:
    for name in PROVIDED | PARENTS:
        module = sys.modules.get(name)
        if module is not None and _is_ours(module):
            del sys.modules[name]
            # The parent may be a real package.
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(child) is module:
                delattr(sys.modules[parent], child)


def _take_attribute(name: str) -> Any:
    parent, _, child = name.rpartition(".")
    return vars(sys.modules[parent]).pop(child, _ABSENT) if parent in sys.modules else _ABSENT


def _is_below_ours(name: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in PACKAGES)


def _is_ours(module: ModuleType) -> bool:
    # What stands in sys.modules need not be a real module.
    return isinstance(getattr(getattr(module, "__spec__", None), "loader", None), _Finder)
