"""Start, end and inspect flows on a real Slurm."""

from __future__ import annotations

from typing import Any

FLOW = ("-m", "flows.train")
BOUND_S = 45
"""With a kill grace of 1 s nothing of a flow is left so long after its end."""
SCRIPT = """#!/bin/bash
#SBATCH --time=1:00:00 --gres=gpu:1 --mem=500M
#SBATCH {directives}
{lines}
{start} training/run.py "$@"
"""


def start(lab: Any, exp_name: str, *flags: str, aggregate: bool = False) -> Any:
    """Start a flow of all scenes with a kill grace of a second; `aggregate` costs a job more."""
    own = ["--cluster", "slurm", "--run-all", "--exp-name", exp_name, "--kill-grace", "1"]
    own += [] if aggregate else ["--no-auto-schedule-aggregate"]
    return lab.popen(*own, *flags, program=FLOW)


def end(flow: Any, status: int = 0) -> str:
    """Wait for a flow's end with this exit status and no traceback; return what it printed."""
    out, err = flow.communicate(timeout=120)
    assert flow.returncode == status, out + err
    assert "Traceback" not in out + err, out + err
    return out + err


def script(
    lab: Any, directives: str = "", lines: str = "", name: str = "site", start: str = "exec python"
) -> tuple[str, str]:
    """Write a Slurm script with these directives and lines; return the flag that names it."""
    path = lab.root / f"{name}.slurm"
    path.write_text(
        SCRIPT.format(directives=directives or "--cpus-per-task=1", lines=lines, start=start)
    )
    return "--slurm.slurm-script", str(path)


def is_ready(lab: Any, exp_name: str, *scenes: str) -> bool:
    return all((lab.output(scene, exp_name) / "ready.txt").exists() for scene in scenes)


def attempts(lab: Any, exp_name: str, scene: str) -> list[dict[str, Any]]:
    return lab.record(scene, exp_name)["attempts"]


def causes(lab: Any, exp_name: str, scene: str) -> list[str]:
    return [attempt["cause"] for attempt in attempts(lab, exp_name, scene)]


def job_of(lab: Any, exp_name: str, scene: str) -> str:
    return attempts(lab, exp_name, scene)[-1]["slurm_job_id"]


def ended_jobs(slurm: Any, exp_name: str) -> set[str]:
    """Return the names of all jobs of an experiment that have ended."""
    lines = (slurm.layout.folder / "jobs.txt").read_text().splitlines()
    names = [line.partition(" Name=")[2].partition(" ")[0] for line in lines]
    return {name for name in names if name.startswith(exp_name)}
