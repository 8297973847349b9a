"""An automation of Prefect's that marks runs Crashed when their heartbeats stop.

It is for runs whose process died without reporting anything. A run that it marks by mistake (the
network was away for long) goes on, and ends in its own state all the same.
"""

from __future__ import annotations

from typing import Any

import httpx

from deployments.check import FLOW_NAMES

NAME = "training: runs whose process died"
HEARTBEAT_TIMEOUT_S = 600.0
"""Ten heartbeats of ours, or three at Prefect's own interval."""
HEARTBEAT = "prefect.flow-run.heartbeat"
FINAL_STATES = ("Completed", "Failed", "Cancelled", "Crashed")
MESSAGE = "no heartbeat any more: its process died; the scenes' records say what became of them"


def crash_automation() -> dict[str, Any]:
    """Return the automation as Prefect's API takes it.

    After a heartbeat of one of our runs, another one or the run's end must follow in time.
    """
    trigger = {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        # Other people's flows on a shared server are left alone.
        "match_related": {
            "prefect.resource.role": "flow",
            "prefect.resource.name": sorted(FLOW_NAMES.values()),
        },
        "for_each": ["prefect.resource.id"],
        "after": [HEARTBEAT],
        "expect": [HEARTBEAT, *(f"prefect.flow-run.{state}" for state in FINAL_STATES)],
        "threshold": 1,
        "within": HEARTBEAT_TIMEOUT_S,
    }
    action = {"type": "change-flow-run-state", "state": "CRASHED", "message": MESSAGE}
    return {"name": NAME, "trigger": trigger, "actions": [action], "enabled": True}


def ensure_crash_automation(client: httpx.Client) -> None:
    """Create the automation, or bring its trigger up to date.

    What people have changed in the UI, its switch and its actions, stays. Raises httpx.HTTPError.
    """
    wanted, body = crash_automation(), {"automations": {"name": {"any_": [NAME]}}}
    found = client.post("/automations/filter", json=body).raise_for_status().json()
    if not found:
        client.post("/automations/", json=wanted).raise_for_status()
    for each in found:
        kept = {key: each[key] for key in ("actions", "enabled")}
        client.put(f"/automations/{each['id']}", json={**wanted, **kept}).raise_for_status()
