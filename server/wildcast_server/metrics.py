"""What the parts of the service report of their work: an observer that is handed in."""
