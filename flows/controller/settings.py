"""Prefect's settings for a flow in a job, secrets included: a file that its owner alone can read.

A job's environment and script can be read by administrators and stay in Slurm's files, so neither
has a password. The file is there from the submission to the controller's end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from flows.server.settings import API_URL, HOME
from training.plan.model import Plan
from training.records.record import RecordError, reason_of
from training.system.atomic_write import write_atomically
from training.system.private_folder import make_private_folder

BLOCKS = "PREFECT_API_BLOCKS_REGISTER_ON_START"


def folder_of(plan: Plan) -> Path:
    """Return the private folder of the controller that was submitted with a plan."""
    return plan.roots.state_root / "controller_jobs" / plan.plan_id


def keep_settings(plan: Plan, settings: Mapping[str, str]) -> None:
    """Write the settings of a plan's controller for its owner alone; raises OSError."""
    make_private_folder(folder_of(plan))
    write_atomically(_file_of(plan), json.dumps(dict(settings)), private=True)


def flow_environment(plan: Plan, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of the flow in the job.

    Raises OSError when the settings are gone, RecordError when they are damaged.
    Where the user names neither a server nor a folder for one, the database of the flow's own
    server lies beside the settings, so that the flow has the same history when it starts again.
    """
    file = _file_of(plan)
    try:
        settings = TypeAdapter(dict[str, str]).validate_json(file.read_bytes())
    except ValueError as error:
        raise RecordError(f"{file} can't be read ({reason_of(error)})") from error
    if not settings.get(API_URL) and not settings.get(HOME):
        settings |= {HOME: str(folder_of(plan) / "prefect"), BLOCKS: "false"}
    return {**environ, **settings}


def remove_settings(plan: Plan) -> None:
    """Remove the secrets of a controller that has ended for good."""
    _file_of(plan).unlink(missing_ok=True)


def _file_of(plan: Plan) -> Path:
    return folder_of(plan) / "settings.json"
