"""Say what is wrong with the files of a scene that a run would read; nothing is decoded.

The launcher asks this of every scene before anything is queued. What has to be decoded for, the
trainer looks at first (`input_checks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from preprocess.data_checks import why_unreadable
from preprocess.faults import Fault
from preprocess.header_checks import check_headers
from preprocess.scene import Scene
from preprocess.scene_data import SceneDataError, body_space, training_folder, truth_folder
from training.trainer.config.schema import Config
from training.trainer.input_checks import (
    chosen_views,
    collect_faults,
    training_frames,
    truth_faults,
)

DISK = "is the disk well? run the same command again"
READERS = 8
"""Scenes that are looked at at once: a shared disk answers slowly, but many questions at once."""


def file_faults_of_all(config: Config, scenes: Sequence[Scene], root: Path) -> list[Fault]:
    """Return what is wrong with the files of those scenes whose data lies below `root`."""
    there = [each for each in scenes if training_folder(each, root).root.is_dir()]
    with ThreadPoolExecutor(READERS, "headers") as pool:
        found = list(pool.map(partial(file_faults, config, root=root), there))
    return [fault for faults in found for fault in faults]


def file_faults(config: Config, scene: Scene, root: Path) -> list[Fault]:
    """Return what headers say is wrong with what a training run of a scene reads below `root`."""
    data, truth = training_folder(scene, root), truth_folder(scene, root)
    faults: list[Fault] = []
    every = config.train.optimization.sample_every
    try:
        frames = collect_faults(faults, lambda: training_frames(data, scene.cam_id, every))
        if frames is None:
            return faults
        faults += check_headers(data, scene.cam_id, frames, body_space(data))
        chosen = collect_faults(faults, lambda: chosen_views(config, scene, truth, frames))
        if truth and chosen and not faults:
            faults += truth_faults(config, data, truth, frames, chosen)
    except SceneDataError as error:  # the disk itself
        faults.append(Fault(str(error), remedy=DISK))
    except OSError as error:
        faults.append(Fault(f"{error.filename} can't be read", *why_unreadable(error)))
    return faults
