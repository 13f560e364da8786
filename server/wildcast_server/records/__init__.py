"""The records of executions: the port and its SQL implementation."""
