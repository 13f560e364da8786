"""The name that later releases of the SDK gave to `api_client.object_storage`."""

from api_client.object_storage import SignedURLFileSystem, create_cloudfront_mapper, get_mapper

__all__ = ["SignedURLFileSystem", "create_cloudfront_mapper", "get_mapper"]
