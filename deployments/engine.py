"""The process of one flow run: `python -m deployments.engine`, started by the worker.

Prefect's own engine, which ends with its worker and keeps Prefect's password to itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

from flows.named_api import CLIENT_PASSWORD, SERVER_PASSWORD
from training.processes import die_with_parent


def main() -> int:
    """Run the flow run that PREFECT__FLOW_RUN_ID names; ends the process as Prefect's engine does.

    A worker that is killed outright leaves no run behind: the flow is told to stop, as by Ctrl-C.
    """
    worker = os.getppid()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != worker:
        return 1
    import prefect  # noqa: F401  # has read its settings when it is imported

    for name in (CLIENT_PASSWORD, SERVER_PASSWORD):
        os.environ.pop(name, None)  # or Dask workers and trainers inherit it
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
