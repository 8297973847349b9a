"""At a flow run's end: wait a moment for a server that is silent, then end without it."""

from __future__ import annotations

import time

from flows.adapters.prefect_adapter import FlowRun
from flows.adapters.prefect_client_adapter import refuse_requests, takes_changes
from flows.server.managed import given_up

PATIENCE_S = 25.0
"""A server of ours that has died is started again meanwhile."""
ANSWER_S = 5.0
POLL_S = 0.5


def give_up_if_silent(run: FlowRun, patience_s: float = PATIENCE_S) -> None:
    """Let Prefect's engine report how the run ended only to a server that takes it.

    One that stays silent for `patience_s` is not asked any more by this process: the engine's own
    requests would take it many minutes to fail, when the run has nothing else left to do.
    """
    deadline = time.monotonic() + patience_s
    while not takes_changes(run, ANSWER_S):
        if time.monotonic() >= deadline:
            given_up.set()
            refuse_requests(f"silent for {patience_s:.0f} s, so the run's page is not current")
            return
        time.sleep(POLL_S)
