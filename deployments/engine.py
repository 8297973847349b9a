"""The process of one flow run: `python -m deployments.engine`, started by the process worker.

It runs Prefect's own engine, ends with the process worker, and hides Prefect's password from what
it starts. With `--spare FD` it is started beforehand and waits for its run (`spare_engine`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from deployments.spare_engine import OPTION, wait_for_run
from flows.notifications.notify import hide_url
from flows.server.managed import exit_without_server
from training.system.exit_status import DONE, FAILED
from training.system.importing import without_collecting
from training.system.secrets import remove_secrets

PARENT_CHECK_S = 1.0
ORPHAN_S = 60.0


def main(argv: Sequence[str]) -> int:
    """Run the flow run that PREFECT__FLOW_RUN_ID names; the exit status is Prefect's.

    When the process worker is killed the flow is told to stop, as by Ctrl-C, and this process ends
    within a minute even if the server is gone too.
    """
    process_worker = os.getppid()
    threading.Thread(target=_end_with_parent, args=(process_worker,), daemon=True).start()
    if argv[:1] == [OPTION] and not wait_for_run(int(argv[1])):
        return DONE
    from flows.adapters.prefect_process_adapter import import_for_runs, run_engine

    with without_collecting():
        import_for_runs()  # Prefect reads its settings now, if it has not yet
    remove_secrets()
    hide_url()
    try:
        run_engine()
    finally:
        exit_without_server(FAILED)
    return DONE


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_S)
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
