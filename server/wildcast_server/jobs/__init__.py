"""What runs executions: the engine's port and adapters, and the runner process that hosts workflows."""
