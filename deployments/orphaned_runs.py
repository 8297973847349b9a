"""Flow runs that still say Running although their process and the server were killed."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

FINAL_STATES = {"RUNNING": "CRASHED", "PENDING": "CRASHED", "CANCELLING": "CANCELLED"}
MESSAGE = "its process was killed; the scenes' records say what became of them"


def end_orphaned_runs(client: httpx.Client, pools: Sequence[str]) -> int:
    """Give the work pools' unfinished runs a final state; return how many there were.

    Only for a server of our own, before its process workers start. Raises httpx.HTTPError.
    """
    unfinished = {
        "flow_runs": {"state": {"type": {"any_": list(FINAL_STATES)}}},
        "work_pools": {"name": {"any_": list(pools)}},
    }
    runs = client.post("/flow_runs/filter", json=unfinished).raise_for_status().json()
    for run in runs:
        state = {"type": FINAL_STATES[run["state"]["type"]], "message": MESSAGE}
        body = {"state": state, "force": True}
        client.post(f"/flow_runs/{run['id']}/set_state", json=body).raise_for_status()
    return len(runs)
