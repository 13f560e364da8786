"""The whole tree, and what follows from several of its sections."""

from pathlib import Path

from pydantic import SecretStr

from wildcast_server.settings.object_storage import ObjectStorageSettings
from wildcast_server.settings.sections import (
    ApiSettings,
    DatabaseSettings,
    EdgeSettings,
    LogSettings,
    ResultSettings,
    WebhookSettings,
    WorkerSettings,
    WorkflowSettings,
)
from wildcast_server.settings.values import LocalPath, Section, is_loopback, is_wildcard


class Settings(Section):
    """The configuration. Constructing it reads nothing from outside; `load_settings` does."""

    data_dir: LocalPath = Path("wildcast-data")
    """Everything that is embedded lives below it: records, outputs, objects, the edge's key."""
    log: LogSettings = LogSettings()
    database: DatabaseSettings = DatabaseSettings()
    api: ApiSettings = ApiSettings()
    edge: EdgeSettings = EdgeSettings()
    workflows: WorkflowSettings = WorkflowSettings()
    results: ResultSettings = ResultSettings()
    workers: WorkerSettings = WorkerSettings()
    webhooks: WebhookSettings = WebhookSettings()
    object_storage: ObjectStorageSettings = ObjectStorageSettings()

    @property
    def database_url(self) -> SecretStr:
        """The records' database: the one that is set, or SQLite in `data_dir`."""
        return self.database.url or SecretStr(f"sqlite:///{(self.data_dir / 'wildcast.sqlite').absolute()}")

    @property
    def output_dir(self) -> Path:
        """Where executions write their output directories."""
        return (self.results.output_dir or self.data_dir / "outputs").absolute()

    @property
    def signs_for_this_machine_alone(self) -> bool:
        """Whether other machines are let in, and the URLs signed for our own edge lead each of them to itself."""
        if self.object_storage.has_cloudfront or not self.edge.enabled or self.edge.public_url is not None:
            return False
        return is_wildcard(self.edge.host) or (is_loopback(self.edge.host) and not is_loopback(self.api.host))

    @property
    def store_uri(self) -> str:
        """The store of publications: the one that is named, or the embedded one in `data_dir`."""
        return self.object_storage.configured_uri or (self.data_dir / "objects").absolute().as_uri()


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""By their names in the file."""

LEAVES: tuple[str, ...] = tuple(
    leaf
    for name in Settings.model_fields
    for leaf in ([f"{name}.{field}" for field in SECTIONS[name].model_fields] if name in SECTIONS else [name])
)
"""The dotted name of every setting, in the order of the tree."""
