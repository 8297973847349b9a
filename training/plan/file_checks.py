"""Find scenes whose files can't be trained on, before anything is queued for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from preprocess.faults import Fault
from preprocess.scene import Scene
from training.configuration.interpolations import resolve
from training.configuration.run_modes import TRAIN
from training.plan.train_script import TrainScript
from training.system.paths import Roots

READ = ("train.optimization.sample_every", "train.evaluation", "train.nv_generation")
"""Keys and sections that decide which files a training reads."""


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
    sections = tuple(f"{key}." for key in READ)
    return {
        key: value
        for key, value in script.values.items()
        if key in READ or key.startswith(sections)
    }


def scene_file_faults(script: TrainScript, scenes: Sequence[Scene], roots: Roots) -> list[Fault]:
    """Return what headers say is wrong with the files that training the scenes would read.

    Of the project's own trainer, and where its configuration is right.
    """
    if script.mode is not TRAIN or script.faults:
        return []
    from training.trainer.config.compose import check_schema
    from training.trainer.scene_files import file_faults_of_all

    config = script.schema or check_schema(resolve(script.content))
    return file_faults_of_all(config, scenes, roots.scene_data_root)
