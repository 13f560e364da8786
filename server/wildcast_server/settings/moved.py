"""The settings of Earth2Studio's server that have another name here, or none: what to say to who still gives them.

The names are those of its ``serve/server/conf/config.yaml`` and ``serve/server/config.py``, version 0.19.
"""

from collections.abc import Mapping
from typing import Any

ADVICE: Mapping[str, Mapping[str, str]] = {
    "redis": {},
    "queue": {"max_size": "use workflows.max_queued"},
    "worker": {},
    "paths": {
        "default_output_dir": "use results.output_dir",
        "output_format": "it is each workflow's own parameter, output_format in a request; delete it",
    },
    "logging": {
        "level": "use log.level",
        "format": "use log.format, which is text or json",
    },
    "server": {
        "host": "use api.host, and edge.host for the results",
        "port": "use api.port",
        "results_ttl_hours": "use results.retention_seconds, in seconds",
    },
    "cors": {
        "allow_origins": "use edge.cors_origins for the results; the API sends no CORS headers",
    },
    "workflow_exposure": {
        "exposed_workflows": "use workflows.exposed, where null exposes all and an empty list none",
        "warmup_workflows": "use workflows.warm_up",
    },
    "object_storage": {
        "storage_type": "the store's scheme says it: object_storage.bucket is S3, object_storage.store takes az://",
    },
}
"""By section and name. Of the other names of these sections nothing takes the place; `object_storage` is ours too."""

VARIABLES: Mapping[str, str] = {
    "DEFAULT_OUTPUT_DIR": "WILDCAST_RESULTS__OUTPUT_DIR",
    "EXPOSED_WORKFLOWS": "WILDCAST_WORKFLOWS__EXPOSED",
    "RESULTS_TTL_HOURS": "WILDCAST_RESULTS__RETENTION_SECONDS",
    "MAX_QUEUE_SIZE": "WILDCAST_WORKFLOWS__MAX_QUEUED",
    "SIGNED_URL_EXPIRES_IN": "OBJECT_STORAGE_SIGNED_URL_EXPIRES_IN",
}
"""What to set instead of those of its variables that no other program is likely to have."""


def moved_sentences(name: str, value: Any, origin: str) -> list[str]:
    """Say what to use instead of one of Earth2Studio's settings or sections; nothing if it is none of them.

    Parameters
    ----------
    name
        Dotted, or a section's.
    value
        A section's settings by name; of a single setting it does not matter.
    """
    section, _, field = name.partition(".")
    advice = ADVICE.get(section)
    if advice is None:
        return []
    if field:
        return _of_field(section, field, origin)
    given = list(value) if isinstance(value, Mapping) else []
    gone = [f"{section}.{key}" for key in given if key not in advice]
    if len(gone) == len(given):
        return [f"there is no section {section} ({origin}): nothing takes its place, delete it"]
    sentences = [f"there is no setting {section}.{key} ({origin}): {advice[key]}" for key in given if key in advice]
    return sentences + ([_gone(gone, origin)] if gone else [])


def _of_field(section: str, field: str, origin: str) -> list[str]:
    if field in ADVICE[section]:
        return [f"there is no setting {section}.{field} ({origin}): {ADVICE[section][field]}"]
    # Another unknown name in a section of ours is a misspelling.
    return [] if section == "object_storage" else [_gone([f"{section}.{field}"], origin)]


def _gone(names: list[str], origin: str) -> str:
    if len(names) == 1:
        return f"there is no setting {names[0]} ({origin}): nothing takes its place, delete it"
    return f"there are no settings {', '.join(names)} ({origin}): nothing takes their place, delete them"


def unused_sentence(variable: str) -> str:
    """Say that an environment variable is no setting, and which one may be meant."""
    hint = f": set {VARIABLES[variable]} instead" if variable in VARIABLES else ""
    return f"the environment variable {variable} is no setting and has no effect{hint}"
