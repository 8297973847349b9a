"""Have the bundled trainer compile what it needs on a GPU, before any scene's time begins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from training.plan.command_lines import runnable
from training.plan.model import Plan
from training.plan.train_script import OWN_SCRIPT
from training.snapshots.start import SourcesChangedError, from_sources
from training.system.gpus import VISIBLE_GPUS, with_device_order

PREPARE = "--prepare-gpu"
"""Argument of the trainer, before those of a scene."""
TIMEOUT_S = 2 * 3600


def prepare_gpu(plan: Plan, gpu: str = "") -> None:
    """Run the trainer of a plan with `--prepare-gpu`; return when it has ended well.

    `gpu`: the one that it may use, else what the environment says. Does nothing for another
    trainer, and for a plan without scenes to run. Raises FaultsError with what the trainer said.
    """
    scene = next(iter(plan.of("run")), None)
    if scene is None or Path(scene.command[1]) != OWN_SCRIPT:
        return
    python, script, *arguments = runnable(scene.command)
    environment = with_device_order({**os.environ, **scene.environment})
    environment |= {VISIBLE_GPUS: gpu} if gpu else {}
    try:
        command, environment = from_sources(
            plan.sources, (python, script, PREPARE, *arguments), environment
        )
        result = subprocess.run(
            command, env=environment, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, SourcesChangedError, subprocess.TimeoutExpired) as error:
        raise FaultsError([Fault("the trainer can't be prepared", str(error))]) from error
    if result.returncode != 0:
        said = result.stderr.strip() or f"exit status {result.returncode}"
        raise FaultsError([Fault("the trainer can't be prepared for a GPU", said)])
