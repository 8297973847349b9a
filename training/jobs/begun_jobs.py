"""What a job leaves behind as it begins, for the shells of jobs that could not.

The shell of an array's job that ends early starts it elsewhere (`training.slurm.start_elsewhere`).
Once some job of its plan has begun, the nodes where others ended early are bad, and remembered for
flows and arrays to come.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from training.jobs.job_entry import ENTRY_VARIABLE
from training.plan.model import Plan
from training.slurm.bad_nodes import BadNode, forget_bad_node, note_bad_nodes
from training.slurm.start_elsewhere import BAD, BEGAN, FAILED, STARTS
from training.system.job_environment import node_name


def note_begun(plan: Plan) -> None:
    """Note that our code runs in this job: its node is none of the bad ones, the script works.

    What can't be written is left: then a job that ends early ends as it would without.
    """
    folder = plan.job_logs / STARTS
    with contextlib.suppress(OSError):
        if entry := os.environ.get(ENTRY_VARIABLE):
            Path(entry).with_suffix(f".{BEGAN}").touch()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BEGAN).touch()
        for suffix in (FAILED, BAD):
            (folder / f"{node_name()}.{suffix}").unlink(missing_ok=True)
        taken = [_take(file) for file in folder.glob(f"*.{FAILED}")]
        note_bad_nodes(plan.roots.state_root, filter(None, taken))
    forget_bad_node(plan.roots.state_root, node_name())


def _take(file: Path) -> BadNode | None:
    """Return the node of a file, which is renamed so that it is noted once.

    None where it can't be read: another job, which began at the same moment, has taken it.
    """
    try:
        seen, job_id = datetime.fromtimestamp(file.stat().st_mtime, UTC), file.read_text().strip()
        file.replace(file.with_suffix(f".{BAD}"))
    except (OSError, ValueError):
        return None
    return BadNode(node=file.stem, job_id=job_id, seen=seen)
