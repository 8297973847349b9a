"""Compile the trainer's rasterizer before scenes start, so that none of them waits for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from preprocess.roots import CHECKOUT
from training.plan.model import Plan
from training.plan.train_script import OWN_SCRIPT
from training.system.console import say
from training.trainer.gaussians.cpu_rasterizer.compiled_code import code_folder, has_compiler

COMMAND = ("-m", "training.trainer.gaussians.cpu_rasterizer")


def compile_rasterizer(plan: Plan, timeout_s: float) -> None:
    """Compile it in a child process where this kind of machine has no compiled code yet.

    Nothing is done for another trainer or where scenes run on GPUs. Never raises: whatever goes
    wrong, each scene compiles for itself or does without, and its log says so.
    """
    if not _is_needed(plan):
        return
    say("compiling the rasterizer, once for this kind of machine")
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, *COMMAND],
            cwd=CHECKOUT,
            env={**os.environ, **plan.roots.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )


def _is_needed(plan: Plan) -> bool:
    scripts = {Path(scene.command[1]) for scene in plan.of("run")}
    if OWN_SCRIPT not in scripts or plan.gpus or not has_compiler():
        return False
    with contextlib.suppress(OSError):
        return not code_folder(plan.roots.state_root).is_dir()
    return False
