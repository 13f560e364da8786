"""Workflow files that were written for Earth2Studio's server, loaded and run unchanged."""
