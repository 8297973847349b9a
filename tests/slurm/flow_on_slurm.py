"""Flows on a real Slurm: what their tests have in common."""

from __future__ import annotations

from typing import Any

FLOW = ("-m", "flows.train")
BOUND_S = 45
"""Within so long after a flow's end, with a grace of 1 s, nothing of it is left."""
SCRIPT = """#!/bin/bash
#SBATCH --time=1:00:00 --gres=gpu:1 --mem=500M
#SBATCH {directives}
{lines}
exec python training/run.py "$@"
"""


def start(lab: Any, exp_name: str, *flags: str) -> Any:
    """A flow of all scenes, with a grace of a second."""
    own = ["--cluster", "slurm", "--run-all", "--exp-name", exp_name, "--kill-grace", "1"]
    return lab.popen(*own, *flags, program=FLOW)


def end(flow: Any, status: int = 0) -> str:
    out, err = flow.communicate(timeout=120)
    assert flow.returncode == status, out + err
    assert "Traceback" not in out + err, out + err
    return out + err


def script(lab: Any, directives: str = "", lines: str = "", name: str = "site") -> tuple[str, str]:
    """The flag that names a Slurm script of the test's own."""
    path = lab.root / f"{name}.slurm"
    path.write_text(SCRIPT.format(directives=directives or "--cpus-per-task=1", lines=lines))
    return "--slurm.slurm-script", str(path)


def is_ready(lab: Any, exp_name: str, *scenes: str) -> bool:
    return all((lab.output(scene, exp_name) / "ready.txt").exists() for scene in scenes)


def attempts(lab: Any, exp_name: str, scene: str) -> list[dict[str, Any]]:
    return lab.record(scene, exp_name)["attempts"]


def causes(lab: Any, exp_name: str, scene: str) -> list[str]:
    return [attempt["cause"] for attempt in attempts(lab, exp_name, scene)]


def job_of(lab: Any, exp_name: str, scene: str) -> str:
    return attempts(lab, exp_name, scene)[-1]["slurm_job_id"]
