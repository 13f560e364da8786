"""The service's HTTP face."""

from wildcast_server.api.app import UseCases, create_api

__all__ = ["UseCases", "create_api"]
