"""What wildcast computes with: executions, workflows, their registry and their run context."""
