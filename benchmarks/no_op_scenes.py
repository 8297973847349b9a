"""Run the launcher or the flow with scenes that do nothing but leave a record that says done.

`python benchmarks/no_op_scenes.py launch|flow FLAGS…`, with the flags of those commands. No trainer
and no supervisor starts, so that what is left is what the scheduler costs. The last line printed is
JSON: CPU seconds of this process and its largest resident size in MB.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from training.plan.model import ScenePlan
from training.records.outcome import Outcome, outcome_of
from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.system.stop_request import StopRequest


def leave_record(
    scene: ScenePlan, gpu: str | None = None, stop: StopRequest | None = None
) -> Outcome:
    """Write the record of a scene that was done in no time; return the outcome.

    Stands in place of `run_scene` of the launcher and of the flow's `train_one_scene`.
    """
    del gpu, stop
    attempt = Attempt(start=now(), host="here", pid=os.getpid(), command=scene.command_line)
    record = RunRecord(
        scene=scene.scene_name,
        exp_name=scene.exp_name,
        fingerprint=scene.fingerprint,
        configuration=scene.configuration,
        status="running",
    )
    record = record.started(attempt).ended(Cause.OK, 0, "", {"psnr": 25.0})
    scene.output.mkdir(parents=True, exist_ok=True)
    write_record(scene.output, record)
    return outcome_of(scene.name, record, scene.log, has_checkpoint=False)


def launch(arguments: list[str]) -> int:
    """Run the launcher; return its exit status."""
    from training import run
    from training.execution import local

    vars(local)["run_scene"] = leave_record
    return run.main(arguments)


def flow(arguments: list[str]) -> int:
    """Run the flow; return its exit status."""
    from flows import train
    from flows.runner import tasks

    # Before flows.plan_tasks takes it; by its module's name, where Dask's workers find it.
    tasks.train_one_scene = import_module("benchmarks.no_op_scenes").leave_record
    return train.main(arguments)


def main(program: str, arguments: list[str]) -> int:
    """Run a program, print what it took, return its exit status."""
    status = {"launch": launch, "flow": flow}[program](arguments)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime
    print(json.dumps({"cpu_s": round(cpu_s, 3), "peak_mb": round(usage.ru_maxrss / 1024, 1)}))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
