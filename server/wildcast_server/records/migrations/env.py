"""What Alembic runs to migrate: on the connection that `schema.migrate` hands it, and on our tables alone."""

from alembic import context

from wildcast_server.records.schema import VERSION_TABLE
from wildcast_server.records.tables import metadata


def _is_ours(name: str | None, kind: str, parents: object) -> bool:  # noqa: ARG001 - Alembic's signature
    return kind != "table" or name in metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=_is_ours,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
