"""Flow runs that still say Running although what executed them was killed, the server with it."""

from __future__ import annotations

from deployments import POOL
from deployments.api_client import api_client

ENDS = {"RUNNING": "CRASHED", "PENDING": "CRASHED", "CANCELLING": "CANCELLED"}
MESSAGE = "what executed it was killed; the scenes' records say what became of them"


def end_leftovers() -> int:
    """Give the pool's unfinished runs a final state; how many there were.

    Only for a server of our own, before its one worker starts.
    """
    wanted = {
        "flow_runs": {"state": {"type": {"any_": list(ENDS)}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    with api_client() as client:
        runs = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
        for run in runs:
            state = {"type": ENDS[run["state"]["type"]], "message": MESSAGE}
            body = {"state": state, "force": True}
            client.post(f"/flow_runs/{run['id']}/set_state", json=body).raise_for_status()
    return len(runs)
