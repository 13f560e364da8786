"""Stubs."""

# ruff: noqa
from typing import Any


class Unwritten:
    def register(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def beat(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def leave(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def workers(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def overdue(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def declare_lost(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def forget_worker(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def expire(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def due_removals(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def removed(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def removal_failed(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def due_deliveries(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def delivered(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def delivery_failed(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def deliveries(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def prunable(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def prune(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def page(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError
