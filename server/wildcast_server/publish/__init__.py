"""From an output directory to a publication: scan, upload, verify, commit."""
