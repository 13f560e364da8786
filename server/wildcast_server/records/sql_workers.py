from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.unwritten import Unwritten


class SqlWorkers(Unwritten, SqlDatabase):
    pass
