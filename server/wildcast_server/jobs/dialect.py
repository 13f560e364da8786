"""Which workflow files are understood: in the runner's process, and in the service, which has to agree with it."""

from wildcast_server.compat import Earth2StudioDialect
from wildcast_server.domain.discovery import Dialect

DIALECT: Dialect = Earth2StudioDialect()
