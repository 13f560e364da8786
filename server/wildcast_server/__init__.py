"""The service that runs workflows and publishes what they wrote."""
