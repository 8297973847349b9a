"""What puts the flow into Prefect's UI: deployments, and the process that executes their runs."""

POOL = "training"
"""The work pool whose runs our worker executes."""
WORKER_STARTED = "is waiting for runs"
"""What the worker says once it is."""
ENGINE = "deployments.engine"
"""The module of a flow run's process."""
