"""The trainer makes the same files, whether a fresh interpreter runs it or a fork of a starter."""

from __future__ import annotations

import io
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

from training import simple_multi_human_trainer
from training.execution.run_scene import run_scene
from training.plan.model import ScenePlan
from training.records.record import read_record
from training.trainer import import_ahead

TRAINER = Path(__file__).resolve().parents[3] / "training" / "simple_multi_human_trainer.py"
TIMES = re.compile(rb'(=== attempt 1 on .*|"seconds": [0-9.]+)')


def plan_of(tiny_scene, *, warm_start):
    output = tiny_scene.output()
    output.mkdir(parents=True)
    roots = {"TS_RESULTS_ROOT": str(tiny_scene.results), "TS_SCENE_DATA_ROOT": str(tiny_scene.data)}
    return ScenePlan(
        name=tiny_scene.name,
        exp_name="exp",
        scene=json.loads(tiny_scene.scene_file().read_text()),
        scene_file=tiny_scene.scene_file(),
        action="run",
        reason="new",
        command=(sys.executable, str(TRAINER), *tiny_scene.arguments("seed=3")),
        environment={
            **roots,
            "TS_STATE_ROOT": str(tiny_scene.results.parent / "state"),
            "CUDA_VISIBLE_DEVICES": "",
        },
        output=output,
        fingerprint="f",
        expected_outputs=("metrics.json", "person_*.ply"),
        time_limit_s=120,
        kill_grace_s=5,
        warm_start=warm_start,
        cancelled=tiny_scene.results.parent / "cancelled",
    )


def contents(folder):
    """Every file by its name, without the times of a run."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.suffix == ".pt":
            state = torch.load(file, weights_only=True)
            state["state"]["position"].pop("seconds")
            torch.save(state, kept := io.BytesIO())
            found[file.name] = kept.getvalue()
        elif file.name != "run.json":
            found[file.name] = TIMES.sub(b"", file.read_bytes())
    return found


def test_every_run_mode_says_what_to_import_ahead():
    """A new one would be started by fresh interpreters."""
    assert import_ahead.FUNCTIONS.keys() == simple_multi_human_trainer.FUNCTIONS.keys()


@pytest.mark.training
def test_a_warm_start_writes_the_same_files_as_a_cold_one(tiny_scene):
    """Metrics, checkpoint, models, pictures, configuration and log, byte for byte but for times."""
    made = []
    with ThreadPoolExecutor(1) as thread:
        for warm_start in (False, True):
            plan = plan_of(tiny_scene, warm_start=warm_start)
            outcome = thread.submit(run_scene, plan).result(timeout=240)
            assert (outcome.status, outcome.notice) == ("done", ""), plan.log.read_text()
            made.append(contents(plan.output))
            supervisor = read_record(plan.output).attempts[0].pid
            assert len(psutil.Process(supervisor).children()) == warm_start, "the starter"
            plan.output.rename(plan.output.with_name(f"warm_{warm_start}"))
    cold, warm = made
    assert cold.keys() == warm.keys()
    assert {name for name in cold if cold[name] != warm[name]} == set()
    assert {"metrics.json", "last.pt", "train.log", "person_00.ply"} <= cold.keys()
