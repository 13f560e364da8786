"""Publishing output directories: scan, upload in order, verify, commit."""

from wildcast_server.publish.in_place import publish_in_place
from wildcast_server.publish.manifests import manifest_key, read_manifest
from wildcast_server.publish.output import check_name
from wildcast_server.publish.published import Published
from wildcast_server.publish.publisher import Publisher
from wildcast_server.publish.publishing import Publishing

__all__ = ["Published", "Publisher", "Publishing", "check_name", "manifest_key", "publish_in_place", "read_manifest"]
