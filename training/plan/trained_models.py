"""Whether scenes that DiFix data is made of have been trained, and where that is required."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.faults import Fault
from preprocess.scene import Scene
from training.configuration.launch_arguments import assigned
from training.plan.options import LaunchOptions
from training.plan.train_script import CHECKPOINT_KEY, TrainScript
from training.system.paths import Roots

UNTRAINED = (
    "no scene of the experiment is trained: DiFix data is made of grey people. Train them first, or"
    f" say --overrides {CHECKPOINT_KEY}=false"
)


def with_trained_models(
    options: LaunchOptions, scenes: Sequence[Scene], script: TrainScript, roots: Roots
) -> tuple[TrainScript, list[Fault], list[str]]:
    """Return the script as it will run, the scenes without a model as faults, and warnings."""
    untrained = _untrained(options, scenes, roots) if script.needs_checkpoint else []
    if untrained and len(untrained) == len(scenes) and _is_as_on_reference_page(options):
        return script.without_checkpoint(), [], [UNTRAINED]
    return script, untrained, []


def _untrained(options: LaunchOptions, scenes: Sequence[Scene], roots: Roots) -> list[Fault]:
    from training.trainer.difix.generation_checks import checkpoint_faults

    outputs = (roots.output_folder(scene.seq_name, options.exp_name) for scene in scenes)
    return [fault for output in outputs for fault in checkpoint_faults(output)]


def _is_as_on_reference_page(options: LaunchOptions) -> bool:
    """Return whether the command is like the one that the original launcher's page shows.

    There --submit makes data of an experiment that nothing on the page trains, and says nothing of
    checkpoints; it has to work as written.
    """
    return options.submit and assigned(options.overrides, CHECKPOINT_KEY) is None
