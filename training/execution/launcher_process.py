"""The process that runs a plan: launchers and flows note theirs beside the plan's file."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from preprocess.json_file import read_json
from training.system.atomic_write import write_atomically
from training.system.processes import ProcessId, process_id


def note_launcher(plan_file: Path) -> None:
    """Record that this process runs the plan; raises OSError when the disk refuses."""
    write_atomically(_note(plan_file), json.dumps(asdict(process_id(os.getpid()))))


def living_launcher(plan_file: Path) -> ProcessId | None:
    """Return the process that runs the plan; None if it has ended or is on another host."""
    launcher = noted_launcher(plan_file)
    return launcher if launcher and launcher.lives() else None


def noted_launcher(plan_file: Path) -> ProcessId | None:
    """Return the process that ran the plan, on whatever host; None if it is not known."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ProcessId(**read_json(_note(plan_file)))
    return None


def _note(plan_file: Path) -> Path:
    return plan_file.with_suffix(".launcher")
