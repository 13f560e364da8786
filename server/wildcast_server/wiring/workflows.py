"""Loading workflows: into this process for the API, and by a child of it for a worker."""

import logging
import threading
from collections.abc import Sized
from pathlib import Path

from pydantic import ValidationError

from wildcast_server.domain.discovery import REASON, Discovery, discover_files, workflow_files
from wildcast_server.domain.parameters import as_sentence, field_errors
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import SettingsError
from wildcast_server.jobs import DIALECT, Runner, Survey, probe, survey
from wildcast_server.settings import WorkflowSettings
from wildcast_server.wiring.stopping import StopRequestedError

logger = logging.getLogger(__name__)


def load_registry(chosen: WorkflowSettings, stop: threading.Event | None = None) -> Registry:
    """Load all workflows that there are; a file that fails is logged and harms no other.

    Each file is imported by a child process first, so that one that ends or hangs its process does so there.

    Raises
    ------
    SettingsError
        If a name in the settings is no workflow's although every file was loaded.
    StopRequestedError
        If `stop` was set meanwhile.
    """
    # Listed once: what appears in between is not imported untried.
    files = workflow_files(chosen.directories)
    refused = probe(files, stop=stop)
    if stop is not None and stop.is_set():
        raise StopRequestedError("told to stop before the workflows were loaded")
    found = discover_files(files, DIALECT, refused=refused)
    for failure in found.failures:
        logger.error("%s", failure.message)
        logger.debug("how it came to that:", exc_info=failure.error)
    for path, reason in found.empty.items():
        _tell_empty(path, reason)
    _check_names(chosen, found)
    return found.registry


def _tell_empty(path: Path, reason: str | None) -> None:
    if reason is not None:
        logger.debug("%s has no workflow: %s", path, reason)
        return
    logger.warning(
        "%s has no workflow: mark or register one there; if it is meant to have none, "
        "begin its name with _ or say why in a variable %s",
        path,
        REASON,
    )


def expose(chosen: WorkflowSettings, every: Registry) -> Registry:
    """Return those that clients may use, and tell the operator of each that refuses its configuration."""
    names = chosen.exposed
    exposed = every.exposed(None if names is None else [name for name in names if name in every])
    _check_configs(chosen, exposed)
    if not exposed:
        logger.warning("there is no workflow to run: name a directory of workflow files in WORKFLOW_DIR")
    else:
        files = {exposed.source(name) for name in exposed}
        logger.info("%s from %s: %s", _count("workflow", exposed), _count("file", files), ", ".join(exposed))
    return exposed


def _count(noun: str, things: Sized) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def survey_workflows(chosen: WorkflowSettings, stop: threading.Event | None = None) -> Survey:
    """Find out which workflows there are without importing anything into this process; what fails is left out.

    Raises
    ------
    SettingsError
        If a directory of workflows cannot be listed.
    StopRequestedError
        If `stop` was set meanwhile.
    """
    seen = survey(workflow_files(chosen.directories), stop=stop)
    if stop is not None and stop.is_set():
        raise StopRequestedError("told to stop before the workflows were loaded")
    for path, reason in seen.refused.items():
        logger.error("%s cannot be imported: %s", path, reason)
    return seen


def build_runner(chosen: WorkflowSettings, seen: Survey) -> Runner:
    """Build the runner of these workflows; each run imports its own workflow's file alone."""
    return Runner(
        chosen.directories,
        chosen.config,
        sources={name: found.file for name, found in seen.workflows.items()},
        warm_up=[name for name in chosen.warm_up if name in seen.workflows],
        loading_seconds=chosen.loading_timeout,
    )


def seconds_for(chosen: WorkflowSettings, seen: Survey, name: str) -> float | None:
    """Return how long a workflow may run: as the settings say of it, as it says itself, as they say of all."""
    if name in chosen.timeouts:
        return chosen.timeouts[name]
    found = seen.workflows.get(name)
    if found is not None and found.timeout_seconds is not None:
        return found.timeout_seconds
    return chosen.timeout


def _check_names(chosen: WorkflowSettings, found: Discovery) -> None:
    """Hold that the settings name workflows that there are; one may be missing because its file failed."""
    given = {"exposed": chosen.exposed or (), "config": chosen.config, "warm_up": chosen.warm_up}
    for setting, names in given.items():
        unknown = sorted(set(names) - set(found.registry))
        if not unknown:
            continue
        there = ", ".join(found.registry) or "none at all"
        sentence = f"workflows.{setting} names {', '.join(unknown)}, and there is no such workflow; there is {there}"
        if not found.failures:
            raise SettingsError(sentence)
        logger.error("%s; it may be in a file that could not be loaded", sentence)


def _check_configs(chosen: WorkflowSettings, registry: Registry) -> None:
    # Its executions fail, and no others; so it does not stop the start.
    for name in registry:
        try:
            registry.get(name).Config.model_validate(chosen.config.get(name) or {})
        except ValidationError as error:
            place, problems = registry.entry(name).place, as_sentence(field_errors(error))
            logger.error("workflows.config.%s is not what %s takes, so it cannot run: %s", name, place, problems)  # noqa: TRY400 - a traceback could repeat values
