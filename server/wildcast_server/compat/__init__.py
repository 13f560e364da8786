"""Workflow files that were written for Earth2Studio's server, loaded and run unchanged.

Nothing of Earth2Studio is needed for that, unless a file itself uses it.
"""

from wildcast_server.compat.dialect import Earth2StudioDialect

__all__ = ["Earth2StudioDialect"]
