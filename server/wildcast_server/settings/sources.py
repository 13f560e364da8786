"""Where settings come from: each source as a layer of values by dotted name, with the origin of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from wildcast_server.errors import SettingsError
from wildcast_server.settings.moved import VARIABLES
from wildcast_server.settings.tree import LEAVES, SECTIONS, Settings
from wildcast_server.settings.yaml_file import read_yaml

PREFIX = "WILDCAST_"
DELIMITER = "__"

SEED_VARIABLES = {
    "OBJECT_STORAGE_ENABLED": "object_storage.enabled",
    "OBJECT_STORAGE_BUCKET": "object_storage.bucket",
    "OBJECT_STORAGE_REGION": "object_storage.region",
    "OBJECT_STORAGE_PREFIX": "object_storage.prefix",
    "OBJECT_STORAGE_ACCESS_KEY_ID": "object_storage.access_key_id",
    "OBJECT_STORAGE_SECRET_ACCESS_KEY": "object_storage.secret_access_key",
    "OBJECT_STORAGE_SESSION_TOKEN": "object_storage.session_token",
    "OBJECT_STORAGE_ENDPOINT_URL": "object_storage.endpoint_url",
    "OBJECT_STORAGE_TRANSFER_ACCELERATION": "object_storage.use_transfer_acceleration",
    "OBJECT_STORAGE_MAX_CONCURRENCY": "object_storage.max_concurrency",
    "OBJECT_STORAGE_MULTIPART_CHUNKSIZE": "object_storage.multipart_chunksize",
    "OBJECT_STORAGE_USE_RUST_CLIENT": "object_storage.use_rust_client",
    "OBJECT_STORAGE_SIGNED_URL_EXPIRES_IN": "object_storage.signed_url_expires_in",
    "CLOUDFRONT_DOMAIN": "object_storage.cloudfront_domain",
    "CLOUDFRONT_KEY_PAIR_ID": "object_storage.cloudfront_key_pair_id",
    "CLOUDFRONT_PRIVATE_KEY_PATH": "object_storage.cloudfront_private_key_path",
    "CLOUDFRONT_PRIVATE_KEY": "object_storage.cloudfront_private_key",
    "WORKFLOW_DIR": "workflows.directories",
}
"""The variables that Earth2Studio's users have set already, and one beside them for a key that is no file."""

OTHERS = frozenset({"WILDCAST_CONFIG", "WILDCAST_URL", "WILDCAST_TOKEN"})
"""Variables of ours that are no settings of the server."""

AWS_VARIABLES = (
    ("AWS_DEFAULT_BUCKET", "object_storage.bucket"),
    ("AWS_ENDPOINT_OVERRIDE", "object_storage.endpoint_url"),
    ("AWS_ENDPOINT_URL_S3", "object_storage.endpoint_url"),
    ("AWS_ENDPOINT_URL", "object_storage.endpoint_url"),
    ("AWS_REGION", "object_storage.region"),
    ("AWS_DEFAULT_REGION", "object_storage.region"),
    ("AWS_CA_BUNDLE", "object_storage.ca_bundle"),
)
"""The first that is set wins. Credentials are not among them: their chain reads those variables itself."""


@dataclass(frozen=True)
class Given:
    """A value, and where it came from."""

    value: Any = field(repr=False)
    origin: str = field(compare=False)


Layer = dict[str, Given]
"""By dotted name, which may be one that is not a setting. A null is as good as nothing and left out."""


def variable(name: str) -> str:
    """Return the environment variable of a setting: Earth2Studio's name if it has one."""
    for seed, target in SEED_VARIABLES.items():
        if target == name:
            return seed
    return PREFIX + name.replace(".", DELIMITER).upper()


def arguments_layer(arguments: Mapping[str, Any]) -> Layer:
    """Read arguments: dotted names (``api.port``), or a mapping for a section."""
    return _flat(arguments, lambda name: f"argument {name}")


def file_layer(path: Path) -> Layer:
    """Read a YAML file; raises `SettingsError` if it cannot be read."""
    return _flat(read_yaml(path), lambda _name: f"file {path}")


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Read ``WILDCAST_<SECTION>__<NAME>`` and the seed's variables; an empty one counts as not set.

    Raises
    ------
    SettingsError
        If two variables of one setting have different values.
    """
    names = _variables(environ)
    known = {key: environ[name] for key, name in names.items()}
    layer = _flat(_EnvironmentSource(known)(), lambda dotted: f"environment {_name_of(dotted, names)}")
    # The library passes over sections that it does not know.
    for key, name in names.items():
        section, _, rest = key.removeprefix(PREFIX.lower()).partition(DELIMITER)
        if rest and section not in SECTIONS:
            layer[f"{section}.{rest}"] = Given(None, f"environment {name}")
    return layer


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Map the library's key of each variable that concerns us to the variable's own name."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        key = _key(name)
        if key is None or not value:
            continue
        other = found.setdefault(key, name)
        if environ[other] != value:
            raise SettingsError(
                f"the variables {other} and {name} set one setting to different values; unset one of them"
            )
    return found


def unused_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the variables that look like settings, ours or Earth2Studio's, and are none.

    They stop nothing, because platforms make such names up: Kubernetes sets ``OBJECT_STORAGE_PORT`` for a service of
    that name.
    """
    prefixes = (PREFIX, "OBJECT_STORAGE_", "CLOUDFRONT_")
    looks = {name for name in environ if name.startswith(prefixes) and name not in OTHERS} | (
        VARIABLES.keys() & environ.keys()
    )
    return tuple(sorted(name for name in looks if _key(name) is None))


def _key(name: str) -> str | None:
    if name in SEED_VARIABLES:
        return PREFIX.lower() + SEED_VARIABLES[name].replace(".", DELIMITER)
    rest = name.removeprefix(PREFIX).lower()
    ours = name.startswith(PREFIX) and (DELIMITER in rest or rest in LEAVES)
    return PREFIX.lower() + rest if ours else None


def _name_of(dotted: str, names: Mapping[str, str]) -> str:
    key = PREFIX.lower() + dotted.replace(".", DELIMITER)
    return names.get(key) or next(name for other, name in names.items() if other.startswith(key))


class _EnvironmentSettings(Settings, BaseSettings):
    """The tree as the library's environment source wants it; never constructed."""

    # Our own validators read lists and mappings from text, and say what is wrong with them.
    model_config = SettingsConfigDict(enable_decoding=False)


class _EnvironmentSource(EnvSettingsSource):
    """The library's reading of the environment, of variables that are handed in."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(_EnvironmentSettings, case_sensitive=False, env_prefix=PREFIX, env_nested_delimiter=DELIMITER)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables


def aws_layer(environ: Mapping[str, str], above: Layer) -> Layer:
    """Read the standard AWS variables, as far as they fit the store that is named `above`, or none."""
    store = str(above["object_storage.store"].value) if "object_storage.store" in above else None
    if store is not None and not store.startswith("s3://"):
        return {}
    layer: Layer = {}
    for name, target in AWS_VARIABLES:
        if environ.get(name) and not (store and target == "object_storage.bucket"):
            layer.setdefault(target, Given(environ[name], f"AWS variable {name}"))
    if store is None and "object_storage.bucket" not in above | layer:
        layer.pop("object_storage.ca_bundle", None)
    return layer


def _flat(values: Mapping[str, Any], origin: Callable[[str], str]) -> Layer:
    layer: Layer = {}
    for key, value in values.items():
        name = str(key)
        if name in SECTIONS and isinstance(value, Mapping):
            layer |= {f"{name}.{field}": Given(item, origin(f"{name}.{field}")) for field, item in value.items()}
        else:
            layer[name] = Given(value, origin(name))
    return {name: given for name, given in layer.items() if given.value is not None}
