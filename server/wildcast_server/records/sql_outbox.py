from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.unwritten import Unwritten


class SqlOutbox(Unwritten, SqlDatabase):
    pass


def add_effects(connection, execution_id, effects):
    return
