from wildcast_server.records.memory_state import MemoryState
from wildcast_server.records.unwritten import Unwritten


class MemoryPages(Unwritten, MemoryState):
    pass
