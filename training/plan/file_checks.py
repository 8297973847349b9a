"""Find scenes whose files can't be trained on, before anything is queued for them."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.faults import Fault
from preprocess.scene import Scene
from training.configuration.interpolations import resolve
from training.configuration.run_modes import TRAIN
from training.plan.train_script import TrainScript
from training.system.paths import Roots


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
