"""Find scenes whose files a run can't use, before anything is queued for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault
from preprocess.scene import Scene
from training.configuration.interpolations import resolve
from training.configuration.run_modes import EVALUATE
from training.plan.train_script import TrainScript
from training.system.paths import Roots

if TYPE_CHECKING:
    from training.trainer.config.schema import Config

READ = (
    "train.optimization.sample_every",
    "train.evaluation",
    "train.nv_generation",
    "difix_data_generation",
)
"""Keys and sections that decide which files a run reads."""


def file_faults_of_settings(
    scripts: Sequence[TrainScript], scenes: Sequence[Scene], roots: Roots
) -> list[Fault]:
    """Return the faults of `scene_file_faults` for all settings of a sweep.

    Files are looked at once for those settings that read the same.
    """
    reading = {json.dumps(_reads(script), default=str): script for script in reversed(scripts)}
    found = (scene_file_faults(script, scenes, roots) for script in reading.values())
    return list(dict.fromkeys(fault for faults in found for fault in faults))


def _reads(script: TrainScript) -> dict[str, Any]:
    # An evaluation reads what the experiment's own training has read.
    keys = (*READ, "shared.exp_name") if script.mode is EVALUATE else READ
    sections = tuple(f"{key}." for key in keys)
    return {
        key: value
        for key, value in script.values.items()
        if key in keys or key.startswith(sections)
    }


def scene_file_faults(script: TrainScript, scenes: Sequence[Scene], roots: Roots) -> list[Fault]:
    """Return what headers say is wrong with the files that runs of the scenes would read.

    Of the project's own trainer, and where its configuration is right.
    """
    if not script.is_own or script.faults:
        return []
    from training.trainer.scene_files import file_faults_of_all

    return file_faults_of_all(_config(script), scenes, roots.scene_data_root)


def left_out_warnings(script: TrainScript, scenes: Sequence[Scene], roots: Roots) -> list[str]:
    """Return which damaged views DiFix data will be made without."""
    if not script.is_for_refiner or script.faults:
        return []
    from training.trainer.scene_files import left_out_views

    return left_out_views(_config(script), scenes, roots.scene_data_root)


def _config(script: TrainScript) -> Config:
    from training.trainer.config.compose import check_schema

    return script.schema or check_schema(resolve(script.content))
