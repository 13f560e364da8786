"""What the service does for its callers: submit, run, look up, hand out results."""
