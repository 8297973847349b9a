"""An experiment that has run, and is half running: all files that later commands read."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from fuzz.slurm_answers import queue_line

from training.plan.experiments import read_plan
from training.plan.model import Plan
from training.plan.slurm_model import SlurmPlan
from training.records.aggregate_record import AggregateRecord, write_aggregate
from training.records.record import Cause, now, read_record, write_record
from training.records.trainer_exit import note_exit
from training.report.summary import summarise
from training.slurm import running_job

SUFFIXES = {".json", ".csv", ".launcher", ".snapshot", ".aggregate", ".log"}
"""Of the files that commands read."""


@dataclass
class Experiment:
    """Its root folder, and the content of every file in it by its name below the root."""

    root: Path
    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def roots(self) -> list[str]:
        pairs = {"results": "results", "scene-data": "scenes", "state": "state"}
        return [f"--{name}-root={self.root / folder}" for name, folder in pairs.items()]

    def keep(self) -> None:
        """Take the files as they are now for the right ones."""
        paths = (path for path in self.root.rglob("*") if path.suffix in SUFFIXES)
        named = {str(path.relative_to(self.root)): path for path in paths}
        self.files = {
            name: path.read_bytes()
            for name, path in named.items()
            if not name.startswith(("registry", "state/snapshots", "state/imports"))
        }

    def restore(self) -> None:
        for name, content in self.files.items():
            path = self.root / name
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        read_plan.cache_clear()
        running_job._mine.cache_clear()

    def named(self, part: str) -> list[str]:
        return sorted(name for name in self.files if part in name)


def lived(lab) -> Experiment:
    """Run three scenes, then have one of them half run in a Slurm job that nobody knows."""
    for name in "abc":
        lab.add_scene(name)
    assert lab.run("--run-all", "--overrides", "seed=1").returncode == 0
    made = Experiment(lab.root)
    (file,) = (lab.root / "state" / "plans").glob("*.json")
    plan = on_slurm(read_plan(file))
    file.write_text(plan.to_json())
    scene = plan.scenes[0]
    record = read_record(scene.output)
    running = record.last.model_copy(
        update={"end": None, "cause": None, "exit_status": None, "slurm_job_id": "12_0"}
    )
    record = record.model_copy(update={"status": "running", "attempts": (running,)})
    write_record(scene.output, record)
    note_exit(scene.output, record, ("metrics.json",))
    (claim,) = (scene.output / ".claim").glob("*.json")
    holder = json.loads(file.with_suffix(".launcher").read_text()) | {"host": "n1", "pid": 1}
    content = {"process": holder, "launcher": holder, "since": "2026-11-30T20:00:00+00:00"}
    claim.write_text(json.dumps({**content, "slurm_job_id": "12_0"}))
    merged = AggregateRecord(
        exp_name="exp",
        plan_id=plan.plan_id,
        scenes=("a", "b", "c"),
        status="failed",
        start=now(),
        end=now(),
        cause=Cause.WORKER_LOST,
        log=plan.aggregate.log,
        slurm_job_id="13",
    )
    write_aggregate(plan.roots.experiment_folder("exp"), merged)
    with patch("training.report.write.write_plots", lambda *_: []):
        summarise(*plan.experiment)
    made.keep()
    return made


def on_slurm(plan: Plan) -> Plan:
    slurm = SlurmPlan(
        script=Path("submit.slurm"),
        script_text="#!/bin/bash\n#SBATCH --time=1:00:00\n",
        light_script_text="",
        job_name="exp",
        time_s=3600,
        scenes_per_job=1,
        parallelism=2,
    )
    return plan.model_copy(update={"slurm": slurm})


def queue_of(made: Experiment) -> str:
    """Return squeue's answer: one job of the experiment's array waits."""
    (plan,) = (name for name in made.named("state/plans/") if name.endswith(".json"))
    command = f"/x.slurm --in-job array {made.root / plan} 0"
    return queue_line(Command=command, ArrayTaskID="1", State="PENDING")


def output_of(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit status and what it has printed."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            status = command(list(arguments))
        except SystemExit as end:
            status = end.code
    return status, shown.getvalue()
