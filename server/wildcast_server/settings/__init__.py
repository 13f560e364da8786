"""The configuration: one frozen tree, read once from arguments, environment and file."""
