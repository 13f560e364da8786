"""Moving a set of files from disk into a store: bounded in memory, checksummed, checked."""
