"""What client and server agree on: statuses, wire models, the manifest, CloudFront policies.

Pure and light: the standard library and msgspec, no I/O, nothing that takes long to import.
"""
