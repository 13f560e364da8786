"""The configuration: one frozen tree, read once from arguments, environment and file."""

from wildcast_server.settings.describe import SettingLine, describe
from wildcast_server.settings.load import LoadedSettings, load_settings
from wildcast_server.settings.moved import unused_sentence
from wildcast_server.settings.object_storage import Acceleration, ObjectStorageSettings
from wildcast_server.settings.sections import (
    ApiSettings,
    DatabaseSettings,
    EdgeSettings,
    LogSettings,
    ResultSettings,
    WebhookSettings,
    WorkerSettings,
    WorkflowLimits,
    WorkflowSettings,
)
from wildcast_server.settings.tree import Settings

__all__ = [
    "Acceleration",
    "ApiSettings",
    "DatabaseSettings",
    "EdgeSettings",
    "LoadedSettings",
    "LogSettings",
    "ObjectStorageSettings",
    "ResultSettings",
    "SettingLine",
    "Settings",
    "WebhookSettings",
    "WorkerSettings",
    "WorkflowLimits",
    "WorkflowSettings",
    "describe",
    "load_settings",
    "unused_sentence",
]
