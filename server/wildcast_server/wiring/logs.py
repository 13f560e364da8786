"""Setting logging up, once, at an entry point."""

import json
import logging
import sys
from datetime import UTC, datetime

from wildcast_server.settings import LogSettings

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

CHATTY = ("botocore", "urllib3", "asyncio", "alembic", "multipart")
"""Libraries whose details drown ours; they speak from `warning` on."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, and ``exception`` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Lay `record` out."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(settings: LogSettings) -> None:
    """Send every logger's records to standard error in the configured level and format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
