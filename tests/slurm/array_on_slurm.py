"""Submit arrays to a real Slurm, and look at their jobs."""

from __future__ import annotations

import json
import re
from typing import Any

GENERATE = "run_mode=difix_data_generation_generate"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


def submit(lab: Any, *flags: str) -> list[str]:
    """Submit all scenes; return the ids of the jobs that the command names, the array's first."""
    return submit_some(lab, "--run-all", *flags)


def submit_some(lab: Any, *flags: str) -> list[str]:
    """Submit the scenes that `flags` choose; return the ids of the jobs."""
    result = lab.run("--submit", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    return submitted(result.stdout)


def submitted(text: str) -> list[str]:
    return re.findall(r"submitted: \w+ job (\d+)", text)


def state(lab: Any, job_id: str) -> str:
    return lab.slurm.job(job_id)["JobState"]


def wait_ended(lab: Any, eventually: Any, *job_ids: str) -> list[str]:
    def states() -> list[str] | None:
        found = [state(lab, job_id) for job_id in job_ids]
        return found if ENDED.issuperset(found) else None

    return eventually(states, f"the end of jobs {job_ids}")


def running(lab: Any) -> list[Any]:
    return [job for job in lab.slurm.squeue() if job.state == "RUNNING"]


def merged(lab: Any) -> list[dict[str, Any]]:
    path = lab.root / "results" / "_experiments" / "exp" / "merged.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def let_go(lab: Any, *names: str) -> None:
    for name in names:
        lab.let_go(name)


def is_ready(lab: Any, name: str) -> bool:
    return (lab.output(name) / "ready.txt").exists()
