"""The process of one flow run: `python -m deployments.engine`, started by the worker.

Prefect's own engine, which ends with its worker and keeps Prefect's password to itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from flows.notifications.notify import hide_url
from flows.server.managed import forget_passwords

WATCH_S = 1.0
ORPHAN_S = 60.0


def main() -> int:
    """Run the flow run that PREFECT__FLOW_RUN_ID names; ends the process as Prefect's engine does.

    A worker that is killed outright leaves no run behind: the flow is told to stop, as by Ctrl-C,
    and this process ends within a minute even if the server is gone too.
    """
    worker = os.getppid()
    threading.Thread(target=_end_with, args=(worker,), daemon=True).start()
    import prefect  # noqa: F401  # has read its settings when it is imported

    forget_passwords()
    hide_url()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    return 0


def _end_with(worker: int) -> None:
    while os.getppid() == worker:
        time.sleep(WATCH_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
