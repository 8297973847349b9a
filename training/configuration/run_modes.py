"""The run modes of the project's own trainer: one row each, and the only place that lists them.

A new run mode is a row here and a function in `training/simple_multi_human_trainer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RunModeName = Literal[
    "train",
    "difix_data_generation_generate",
    "difix_data_generation_aggregate",
    "refiner_train",
    "evaluate",
]
INPUT_FILE_KEYS = (
    "model.body_file",
    "model.female_body_file",
    "model.male_body_file",
    "model.smpl_body_file",
    "model.smpl_female_body_file",
    "model.smpl_male_body_file",
)
"""Keys of train.yaml that may name an input file: its content decides the result, not its path."""

WARM_UP = "warm_up"
"""The function of the trainer's script that imports what a mode imports: it is no mode's code."""

OF_NO_SCENE = ("cpu_rasterizer", "data", "difix.same_group", "refiner_train")
"""Keys of train.yaml, or sections, that change nothing in any scene's outputs."""


@dataclass(frozen=True)
class RunMode:
    """What a run of the trainer does, reads and writes."""

    name: RunModeName
    activity: str
    """For messages, as in "training failed"."""
    function: str
    """In the trainer's script; the other modes' functions and imports are not this mode's code."""
    is_for_experiment: bool = False
    """Whether it runs once for an experiment, of which it writes the folder; else for a scene."""
    expected_outputs: tuple[str, ...] = ()
    """Globs inside the output folder that what is done has at least one readable file of each."""
    output_subdir: str = ""
    """Folder inside the scene's, or the experiment's, that the mode writes to.

    A scene's has a run record of its own.
    """
    aggregated_by: RunModeName | None = None
    """The mode that merges what this one wrote for all scenes."""
    ignored_keys: tuple[str, ...] = ()
    """Keys of train.yaml, or sections, that this mode does not read or that change no output
    but its rounding."""


TRAIN = RunMode(
    name="train",
    activity="training",
    function="_train",
    expected_outputs=("metrics.json", "checkpoints/last.pt", "person_*.ply", "evaluation/*.png"),
    ignored_keys=(*OF_NO_SCENE, "difix_data_generation"),
)
GENERATE = RunMode(
    name="difix_data_generation_generate",
    activity="generating DiFix data",
    function="_generate",
    expected_outputs=("shard.json",),
    output_subdir="difix_data",
    aggregated_by="difix_data_generation_aggregate",
    ignored_keys=(
        *OF_NO_SCENE,
        "difix_data_generation.workers",
        "difix_data_generation.require_checkpoint",
        "train.evaluation",
        "train.export",
    ),
)
AGGREGATE = RunMode(
    name="difix_data_generation_aggregate",
    activity="aggregating DiFix data",
    function="_aggregate",
    is_for_experiment=True,
    output_subdir="difix_data",
    expected_outputs=("difix/data.json",),
)
REFINER_TRAIN = RunMode(
    name="refiner_train",
    activity="training the refiner",
    function="_train_refiner",
    is_for_experiment=True,
    output_subdir="refiner",
    expected_outputs=("model.pt", "tuned_on.json", "metrics.json"),
)
EVALUATE = RunMode(
    name="evaluate",
    activity="evaluating",
    function="_evaluate",
    expected_outputs=("metrics.json", "evaluation/*.png"),
    output_subdir="standalone_evaluation",
    ignored_keys=(
        "seed",
        "data",
        "train.optimization",
        "train.nv_generation",
        "train.evaluation.eval_every_epoch",
        "train.evaluation.eval_animation_frames",
        "train.export",
        "train.evaluation.held_out_cameras",
        "difix",
        "difix_data_generation",
        "refiner_train",
    ),
)
RUN_MODES: dict[str, RunMode] = {
    mode.name: mode for mode in (TRAIN, GENERATE, AGGREGATE, REFINER_TRAIN, EVALUATE)
}
OUTPUT_SUBDIRS = tuple(
    dict.fromkeys(mode.output_subdir for mode in RUN_MODES.values() if not mode.is_for_experiment)
)
"""Every folder inside a scene's that may hold a run record; the empty name is the scene's own."""


def mode_generating_for(aggregate: str) -> RunMode | None:
    """Return the mode whose outputs the mode `aggregate` merges; None if it merges nothing."""
    return next((mode for mode in RUN_MODES.values() if mode.aggregated_by == aggregate), None)
