"""Runs whose process died without a word: the server marks them Crashed when their heartbeats stop.

An automation of Prefect's. A run that it took for dead by mistake (the network was away for long)
goes on, and ends in its own state all the same.
"""

from __future__ import annotations

from typing import Any

import httpx

from deployments.check import FLOW_NAMES

NAME = "training: runs whose process died"
SILENCE_S = 600.0
"""Ten heartbeats of ours, or three at Prefect's own interval."""
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
MESSAGE = "no heartbeat any more: its process died; the scenes' records say what became of them"


def automation() -> dict[str, Any]:
    """After a heartbeat of a run of ours, another one or the run's end must follow in time."""
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
        "expect": [HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)],
        "threshold": 1,
        "within": SILENCE_S,
    }
    action = {"type": "change-flow-run-state", "state": "CRASHED", "message": MESSAGE}
    return {"name": NAME, "trigger": trigger, "actions": [action], "enabled": True}


def settle_automation(client: httpx.Client) -> None:
    """Make the automation, or bring its trigger up to date.

    What people have changed of it in the UI, its switch and its actions, stays.
    """
    wanted, body = automation(), {"automations": {"name": {"any_": [NAME]}}}
    found = client.post("/automations/filter", json=body).raise_for_status().json()
    if not found:
        client.post("/automations/", json=wanted).raise_for_status()
    for each in found:
        kept = {key: each[key] for key in ("actions", "enabled")}
        client.put(f"/automations/{each['id']}", json={**wanted, **kept}).raise_for_status()
