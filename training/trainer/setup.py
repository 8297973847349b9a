"""Put a run together: data, model, optimizers, reports, and the checkpoint to continue from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch

from preprocess.body.body_model import BodyModel, Space
from preprocess.faults import Fault, FaultsError
from preprocess.layout import SceneFolder
from preprocess.scene_data import SceneDataError, load_genders, load_mask
from training.trainer.cameras.camera_ids import evenly_spaced
from training.trainer.cameras.view import ViewCache
from training.trainer.cameras.views import ViewReader
from training.trainer.checkpoints import run_identity
from training.trainer.config.schema import Config, Model
from training.trainer.evaluation.evaluate import GroundTruth, TrueBodies
from training.trainer.evaluation.evaluated_views import EvaluatedViews
from training.trainer.evaluation.experiment_loggers import open_loggers
from training.trainer.evaluation.perceptual import load_lpips
from training.trainer.evaluation.run_reports import RunReports, shown_render
from training.trainer.gaussians.body_files import load_people_bodies
from training.trainer.gaussians.body_parameters import (
    BodyParameters,
    body_joints,
    read_body_parameters,
)
from training.trainer.gaussians.densification import Densification
from training.trainer.gaussians.gsplat_extension import load_extension
from training.trainer.gaussians.model import Gaussians, Poses, SceneModel
from training.trainer.gaussians.surface import spread_points
from training.trainer.input_checks import TrainingInputs, spaces_evaluated
from training.trainer.loop import TrainingRun, resume
from training.trainer.losses import has_neighbours
from training.trainer.novel_views import NovelViews
from training.trainer.optimizers import make_optimizers
from training.trainer.output_files import OutputFolder
from training.trainer.refiner.refiner import load_refiner
from training.trainer.termination import SignalRequests

GAUSSIANS_PER_PIXEL = 0.5
MIN_GAUSSIANS, MAX_GAUSSIANS = 3_000, 50_000
CAMERAS_IN_PICTURE = 4
MASKS_COUNTED = 16
FRAMES_IN_PICTURE = 2
MEGABYTE = 2**20


def prepare_run(config: Config, inputs: TrainingInputs, requests: SignalRequests) -> TrainingRun:
    """Load everything and restore the last checkpoint, or evaluate the initial model.

    Raises FaultsError, SceneDataError, OSError; Terminated after SIGTERM.
    """
    device = choose_device(config.device)
    estimated = read_body_parameters(inputs.data, inputs.frames, inputs.space)
    people = estimated.betas.shape[0]
    genders = load_genders(inputs.data, inputs.scene, people)
    body = load_people_bodies(config.model, inputs.space, genders)
    source, true_views = open_readers(config, inputs, people, device)
    at = (inputs.data, inputs.cameras.source, inputs.frames)
    counts = gaussian_counts(config.model.gaussians_per_person, *at, people)
    model = make_model(config.seed, body, estimated, counts, device, settings=config.model)
    output = OutputFolder(config.output)
    reports = make_reports(config, inputs, model, source, true_views)
    run = TrainingRun(
        config=config,
        model=model,
        optimizers=make_optimizers(model, config.train.optimization),
        source=source,
        source_id=inputs.cameras.source,
        smooth=has_neighbours(inputs.frames),
        novel=make_novel_views(config, inputs, source, true_views),
        reports=reports,
        requests=requests,
        output=output,
        identity=run_identity(config, inputs.scene.raw),
        densification=_densification(config, len(inputs.frames)),
    )
    if not resume(run):
        reports.evaluate_initial(model, requests.stop_if_asked)
    reports.loggers = open_loggers(config, output, run.position.epoch)
    return run


def open_readers(
    config: Config, inputs: TrainingInputs, people: int, device: torch.device
) -> tuple[ViewReader, ViewReader | None]:
    """Return the readers of the training data and of the truth.

    The truth is evaluated with, seldom: its views have a cache of their own, so that they take no
    memory from those that are trained on.
    """
    settings, background = config.data, config.model.background
    for_truth = settings.cache_mb // 4 * MEGABYTE
    cache = ViewCache(settings.cache_mb * MEGABYTE - for_truth)
    at = (inputs.data, inputs.frames, people, background, device)
    source = ViewReader(*at, settings.loader_threads, cache)
    if inputs.truth is None:
        return source, None
    return source, source.for_folder(inputs.truth, ViewCache(for_truth))


def make_model(
    seed: int,
    body: BodyModel,
    estimated: BodyParameters,
    counts: Sequence[int],
    device: torch.device,
    *,
    settings: Model | None = None,
) -> SceneModel:
    """Return the model before training, with `counts[i]` Gaussians spread over person i's body.

    Without `settings` it is undressed and its colours are the same from everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    surfaces = [
        spread_points(body.of_person(person), betas, count, generator)
        for person, (betas, count) in enumerate(zip(estimated.betas, counts, strict=True))
    ]
    appearance = (settings.sh_degree, settings.cloth_thickness_m) if settings else ()
    gaussians = Gaussians(surfaces, *appearance)
    return SceneModel(body.to(device), Poses(estimated), gaussians).to(device)


def make_reports(
    config: Config,
    inputs: TrainingInputs,
    model: SceneModel,
    source: ViewReader,
    true_views: ViewReader | None,
) -> RunReports:
    """Return the reports of a run over `model`, which has not been trained yet."""
    cameras = inputs.cameras
    shown = views_to_show(inputs.evaluated, cameras.source)
    views = (true_views or source).views(shown)
    return RunReports(
        config=config,
        output=OutputFolder(config.output),
        truth=read_ground_truth(config, inputs, true_views or source),
        cameras=cameras,
        shown=shown,
        initial_renders=[shown_render(model, view, config) for view in views],
        source_camera=source.stored(cameras.source, 0).camera,
        refiner_tuned_on=inputs.refiner,
    )


def make_novel_views(
    config: Config, inputs: TrainingInputs, source: ViewReader, true_views: ViewReader | None
) -> NovelViews:
    """Return the novel views that the configuration asks for; none is made yet."""
    if inputs.refiner is not None:
        print(f"image refiner {config.difix.model_id}: tuned on {inputs.refiner}", flush=True)
    settings, refiner = config.difix, None
    if settings.trn_enable:
        refiner = load_refiner(
            settings.model_id,
            source.device,
            prompt=settings.prompt,
            timesteps=settings.timesteps,
        )
    return NovelViews(
        ids=inputs.cameras.novel,
        settings=config.train.nv_generation.trn_nv_gen,
        folder=OutputFolder(config.output).input_data,
        source=source,
        source_id=inputs.cameras.source,
        truth=true_views,
        refiner=refiner,
        is_reference_always_source=settings.is_prev_cam_always_source,
    )


def _densification(config: Config, frames: int) -> Densification | None:
    if config.model.densification == "none":
        return None
    epochs = config.train.optimization.epochs - config.pose_epochs
    return Densification(config.model, config.seed, epochs, frames)


def read_ground_truth(config: Config, inputs: TrainingInputs, reader: ViewReader) -> GroundTruth:
    """Return what evaluations compare with; `reader` reads true views. Raises SceneDataError."""
    settings = config.train.evaluation
    lpips, why = load_lpips(settings.eval_lpips, reader.device)
    reasons = {"lpips_reason": why} if why else {}
    if not inputs.cameras.held_out:
        reasons["psnr_reason"] = "no camera is held out: the scene names no truth (raw_gt_dir_path)"
    bodies: dict[str, TrueBodies | None] = {}
    for space in spaces_evaluated(config, inputs.space):
        bodies[space], why = _true_bodies(config, inputs, space, reader.device)
        if why:
            reasons[f"{space}_reason"] = why
    return GroundTruth(
        reader,
        inputs.evaluated,
        bodies,
        lpips,
        downscale_factor=settings.nvs_eval.downscale_factor,
        missing_reasons=reasons,
    )


def _true_bodies(
    config: Config, inputs: TrainingInputs, space: Space, device: torch.device
) -> tuple[TrueBodies | None, str]:
    """Return the true bodies in a body space, or None and why there are none."""
    if inputs.truth is None:
        return None, "the scene names no truth (raw_gt_dir_path)"
    folder = inputs.truth.root / space
    if not folder.is_dir():
        return None, f"the truth has no folder {space}"
    parameters = read_body_parameters(inputs.truth, inputs.frames, space)
    genders = load_genders(inputs.truth, inputs.scene, len(parameters.betas))
    body = load_people_bodies(config.model, space, genders)
    return TrueBodies(body, parameters, body_joints(body, parameters).to(device)), ""


def views_to_show(evaluated: EvaluatedViews, source: int) -> list[tuple[int, int]]:
    """Choose cameras and frame indices of the picture: a few, evenly spread."""
    cameras = evenly_spaced(evaluated.cameras or (source,), CAMERAS_IN_PICTURE)
    indices = evenly_spaced(evaluated.indices, FRAMES_IN_PICTURE)
    return [(camera, index) for camera in cameras for index in indices]


def gaussian_counts(
    wanted: int | str, data: SceneFolder, camera: int, frames: Sequence[int], people: int
) -> list[int]:
    """Return the number of Gaussians of each person: as configured, or by the pixels covered.

    Counted are the most pixels in evenly spaced frames of the source camera: a start must not take
    longer for a longer video.
    """
    if isinstance(wanted, int):
        return [wanted] * people
    chosen = evenly_spaced(frames, MASKS_COUNTED)
    pixels = [_most_pixels(data, camera, chosen, person) for person in range(people)]
    wanted_counts = [round(most * GAUSSIANS_PER_PIXEL) for most in pixels]
    return [min(max(count, MIN_GAUSSIANS), MAX_GAUSSIANS) for count in wanted_counts]


def _most_pixels(data: SceneFolder, camera: int, frames: Sequence[int], person: int) -> int:
    """Return the most pixels that a person covers in these frames; missing masks count as empty."""
    most = 0
    for frame in frames:
        with suppress(SceneDataError):  # reported with the view that it belongs to
            most = max(most, int(load_mask(data, camera, person, frame).sum()))
    return most


def choose_device(wanted: str) -> torch.device:
    """Return the device to compute on, with what renders there loaded.

    Raises FaultsError when CUDA is configured and absent, or gsplat can't be compiled for it, and
    TrainingError when its compiler fails.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        remedy = "set device=auto or device=cpu"
        raise FaultsError([Fault("device=cuda, but torch sees no CUDA device", remedy=remedy)])
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda":
        load_extension()
    return torch.device(wanted)
