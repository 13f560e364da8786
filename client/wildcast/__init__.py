"""Read the results of long-running workflows through CDN wildcard signed URLs."""
