"""`run_mode=difix_data_generation_generate`: render one scene's shard of the training set."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageOps

from training.system.atomic_write import write_atomically
from training.trainer.cameras.camera_ids import evenly_spaced
from training.trainer.config.compose import keep_configuration
from training.trainer.config.schema import Config
from training.trainer.difix.generation_checks import GenerationInputs, shard_folder
from training.trainer.difix.pipeline import Pipeline, Renderer
from training.trainer.difix.shard import (
    Configuration,
    Sample,
    Shard,
    ShardFolder,
    deciding_keys,
    dropped_table,
    make_shard,
    read_shard,
    write_shard,
)
from training.trainer.difix.trained_model import in_true_poses, load_model
from training.trainer.evaluation.experiment_loggers import report_progress
from training.trainer.evaluation.pictures import write_image_grid
from training.trainer.setup import choose_device
from training.trainer.termination import SignalRequests, Terminated

SHOWN_SAMPLES = 6
TILE = 288  # pixels
COLUMNS = ("render", "target", "reference")


def generate(config: Config, inputs: GenerationInputs, requests: SignalRequests) -> None:
    """Make what is missing of the scene's shard.

    Raises FaultsError, SceneDataError, TrainingError, OSError; Terminated after SIGTERM, and then a
    later run continues with the samples that are complete.
    """
    device = choose_device(config.device)
    model, source = load_model(config, inputs, device)
    if source["source"] == "initial":
        print("no trained checkpoint: the model before training is rendered", flush=True)
    configuration = Configuration(keys=deciding_keys(config), scene=inputs.scene.raw, model=source)
    folder = shard_folder(config)
    if _is_done(folder, configuration):
        print(f"{folder.shard} is whole: nothing to do", flush=True)
        return
    if config.difix_data_generation.poses == "truth":
        model = in_true_poses(model, inputs)
    keep_configuration(config)
    folder.shard.unlink(missing_ok=True)
    whole = folder.whole_samples(configuration.digest)
    renderer = Renderer(model, config.model.background, device)
    pipeline = Pipeline(
        inputs, config.difix_data_generation, renderer, folder, configuration.digest
    )
    samples = make_samples(pipeline, whole, requests)
    shard = make_shard(configuration, _names(config, inputs), samples, pipeline.dropped)
    _finish(folder, shard)
    print(_sentence(shard, len(whole)), flush=True)


def make_samples(
    pipeline: Pipeline, whole: dict[str, Sample], requests: SignalRequests
) -> list[Sample]:
    """Return all samples of a scene, made now or found complete, and print progress lines.

    Raises Terminated, SceneDataError, OSError.
    """
    inputs, samples = pipeline.inputs, list[Sample]()
    most = len(inputs.frames) * len(inputs.targets)
    for sample in pipeline.samples(whole):
        samples.append(sample)
        if len(samples) % len(inputs.targets) == 0:
            report_progress({"samples": len(samples), "dropped": len(pipeline.dropped), "of": most})
        if requests.stop:
            print(f"stopped after {len(samples)} samples", flush=True)
            raise Terminated
    return samples


def _is_done(folder: ShardFolder, configuration: Configuration) -> bool:
    try:
        shard = read_shard(folder)
    except (OSError, ValueError):
        return False
    return shard.configuration == configuration and not folder.lacks(shard.samples)


def _names(config: Config, inputs: GenerationInputs) -> dict[str, str]:
    group = inputs.group
    names = {"scene": inputs.scene.seq_name, "exp_name": config.shared.exp_name}
    return {**names, "dataset": group.dataset, "group": group.name}


def _finish(folder: ShardFolder, shard: Shard) -> None:
    """Write everything that belongs to a shard, shard.json last; raises OSError."""
    folder.delete_other_samples(shard.samples)
    write_atomically(folder.dropped, dropped_table(shard.dropped, shard.scene))
    write_contact_sheet(folder, shard.samples)
    write_shard(folder, shard)


def write_contact_sheet(folder: ShardFolder, samples: Sequence[Sample]) -> None:
    """Write a picture of some samples, evenly chosen, if there are any; raises OSError."""
    folder.contact_sheet.unlink(missing_ok=True)
    places = evenly_spaced(range(len(samples)), min(SHOWN_SAMPLES, len(samples)))
    rows = {
        f"camera {sample.target_camera}, frame {sample.target_frame}": _tiles(folder, sample)
        for sample in (samples[place] for place in places)
    }
    if rows:
        write_image_grid(folder.contact_sheet, COLUMNS, rows)


def _tiles(folder: ShardFolder, sample: Sample) -> list[Image.Image]:
    paths = [folder.sample(sample.sample_id) / name for name in sample.files]
    tiles = []
    for path in paths:
        with Image.open(path) as image:
            tiles.append(ImageOps.pad(image.convert("RGB"), (TILE, TILE), color="white"))
    return tiles


def _sentence(shard: Shard, found: int) -> str:
    statistics = shard.statistics
    reasons = ", ".join(f"{n} {why}" for why, n in statistics.dropped_by_reason.items())
    made = f"{statistics.samples} samples ({found} found whole)"
    return f"{shard.scene}: {made}, {statistics.dropped} dropped" + (f": {reasons}" * bool(reasons))
