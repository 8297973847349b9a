"""After a test: the cluster as it was, and what the test left running."""

from __future__ import annotations

import time
from typing import Any

from private_slurm.cluster import Cluster

GONE_S = 15


def clear(lab: Any, cluster: Cluster, gone_s: float = GONE_S) -> list[str]:
    """Ends what a test started and all jobs; says which processes of the lab are still there.

    What the test itself started goes first, so that nothing submits anew.
    """
    for process in lab.started:
        process.kill()
    cluster.heal()
    cluster.cancel_all()
    cluster.wait_empty()
    end = time.monotonic() + gone_s
    while (left := lab.strays()) and time.monotonic() < end:
        time.sleep(0.1)
    return [str(process) for process in left]
