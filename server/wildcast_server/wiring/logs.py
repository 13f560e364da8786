"""Setting logging up, once, at an entry point."""

import json
import logging
import sys
from datetime import UTC, datetime

from wildcast_server.settings import LogSettings

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

CHATTY = ("alembic", "asyncio", "botocore", "httpcore", "httpx", "multipart", "urllib3", "uvicorn")
"""Libraries whose details drown ours, or that log whole URLs, signature included; they speak from `warning` on."""


class TextFormatter(logging.Formatter):
    """Lines for people; times are UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's
        """Write the record's time."""
        return _utc(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``.

    Where there is one, also ``execution_id`` and ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Lay `record` out."""
        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "execution_id"):
            line["execution_id"] = record.execution_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def set_up_logging(settings: LogSettings) -> None:
    """Send every logger's records to standard error in the configured level and format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter(TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
