"""Put a run together: data, model, optimizers, reports, and the checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from preprocess.body.body_model import BodyFileError, BodyModel, Space, load_body
from preprocess.faults import Fault, FaultsError
from training.trainer.cameras.views import View, ViewReader
from training.trainer.checkpoints import identity_of
from training.trainer.config.schema import Config, under_checkout
from training.trainer.evaluation.evaluate import Truth, rendered_images
from training.trainer.evaluation.metrics import find_lpips
from training.trainer.experiment_loggers import open_trackers
from training.trainer.gaussians.body_parameters import joints_of, read_bodies
from training.trainer.gaussians.model import BodyParameters, Gaussians, Poses, SceneModel
from training.trainer.gaussians.surface import spread_points
from training.trainer.input_checks import Inputs
from training.trainer.loop import Run, resume
from training.trainer.novel_views import NovelViews
from training.trainer.optimizers import make_optimizers
from training.trainer.output_files import OutputFolder
from training.trainer.refiner import DifixRefiner
from training.trainer.run_reports import Reports
from training.trainer.signals import Requests

GAUSSIANS_PER_PIXEL = 1
MIN_GAUSSIANS, MAX_GAUSSIANS = 1_000, 50_000
FRAMES_IN_PICTURE = 2


def prepare(config: Config, inputs: Inputs, requests: Requests) -> Run:
    """Everything loaded and at the position of the last checkpoint, or at the start.

    Raises FaultsError, SceneDataError, OSError.
    """
    device = choose_device(config.device)
    body = load_body_model(config.model.body_file, "smplx")
    first = read_bodies(inputs.data, inputs.frames, "smplx")
    people = first.betas.shape[0]
    source = ViewReader(inputs.data, inputs.frames, people, config.model.background, device)
    true_views = source.of(inputs.truth) if inputs.truth else None
    counts = _gaussian_counts(config.model.gaussians_per_person, source, inputs.cameras.source)
    model = make_model(config.seed, body, first, counts, device)
    output = OutputFolder(config.output)
    reports = make_reports(config, inputs, model, source, true_views)
    run = Run(
        config=config,
        model=model,
        optimizers=make_optimizers(model, config.train.optimization.learning_rate),
        source=source,
        source_id=inputs.cameras.source,
        novel=make_novel_views(config, inputs, source, true_views),
        reports=reports,
        requests=requests,
        output=output,
        identity=identity_of(config, inputs.scene.raw),
    )
    if not resume(run):
        reports.start(model)
    reports.trackers = open_trackers(config, output.root, run.position.epoch)
    return run


def make_model(
    seed: int, body: BodyModel, first: BodyParameters, counts: Sequence[int], device: torch.device
) -> SceneModel:
    """The model before training: so many Gaussians spread over each estimated body."""
    generator = torch.Generator().manual_seed(seed)
    surfaces = [
        spread_points(body, betas, count, generator)
        for betas, count in zip(first.betas, counts, strict=True)
    ]
    return SceneModel(body.to(device), Poses(first), Gaussians(surfaces)).to(device)


def make_reports(
    config: Config,
    inputs: Inputs,
    model: SceneModel,
    source: ViewReader,
    true_views: ViewReader | None,
) -> Reports:
    """The reports of a run over `model`, which has not been trained yet."""
    cameras = inputs.cameras
    shown = _shown(true_views or source, cameras.held_out or (cameras.source,))
    return Reports(
        config=config,
        output=OutputFolder(config.output),
        truth=_truth(config, inputs, true_views or source),
        cameras=cameras,
        shown=shown,
        first_images=rendered_images(model, shown, config.model.background),
    )


def make_novel_views(
    config: Config, inputs: Inputs, source: ViewReader, true_views: ViewReader | None
) -> NovelViews:
    """The novel views that the configuration asks for, none made yet."""
    refiner = (
        DifixRefiner(config.difix.model_id, source.device) if config.difix.trn_enable else None
    )
    return NovelViews(
        ids=inputs.cameras.novel,
        settings=config.train.nv_generation.trn_nv_gen,
        folder=OutputFolder(config.output).input_data,
        source=source,
        source_id=inputs.cameras.source,
        truth=true_views,
        refiner=refiner,
    )


def _truth(config: Config, inputs: Inputs, reader: ViewReader) -> Truth:
    lpips, why = find_lpips(reader.device)
    reasons = {"lpips_reason": why} if why else {}
    if not inputs.cameras.held_out:
        reasons["psnr_reason"] = "no camera is held out: the scene names no truth (raw_gt_dir_path)"
    joints: dict[str, Tensor | None] = {}
    files: dict[Space, str] = {"smplx": config.model.body_file}
    if config.train.evaluation.pose_eval.eval_smpl:
        files["smpl"] = config.model.smpl_body_file
    for space, file in files.items():
        found, why = _true_joints(inputs, space, file)
        joints[space] = None if found is None else found.to(reader.device)
        if why:
            reasons[f"{space}_reason"] = why
    return Truth(reader, inputs.cameras.held_out, joints, lpips, reasons)


def _true_joints(inputs: Inputs, space: Space, body_file: str) -> tuple[Tensor | None, str]:
    """The true joints in a body space, or why there are none."""
    if inputs.truth is None:
        return None, "the scene names no truth (raw_gt_dir_path)"
    folder = inputs.truth.root / space
    if not folder.is_dir():
        return None, f"the truth has no folder {space}"
    body = load_body_model(body_file, space)
    return joints_of(body, read_bodies(inputs.truth, inputs.frames, space)), ""


def load_body_model(file: str, space: Space) -> BodyModel:
    """The body model of a file; raises FaultsError with the key that names it."""
    try:
        return load_body(under_checkout(file), space)
    except BodyFileError as error:
        key = "model.body_file" if space == "smplx" else "model.smpl_body_file"
        raise FaultsError([Fault(str(error), remedy=f"set {key}")]) from error


def _shown(reader: ViewReader, cameras: Sequence[int]) -> list[View]:
    """Views for the picture: some frames, evenly spread, of each camera."""
    count = min(FRAMES_IN_PICTURE, len(reader.frames))
    frames = [(2 * i + 1) * len(reader.frames) // (2 * count) for i in range(count)]
    return [reader.view(camera, frame) for camera in cameras for frame in frames]


def _gaussian_counts(wanted: int | str, source: ViewReader, source_id: int) -> list[int]:
    """Gaussians of each person: as wanted, or by the pixels the person covers at most."""
    if isinstance(wanted, int):
        return [wanted] * source.people
    covered = torch.stack(
        [source.view(source_id, i).masks.sum((0, 1)) for i in range(len(source.frames))]
    )
    return gaussians_for(covered.amax(0).int().tolist())


def gaussians_for(pixels: Sequence[int]) -> list[int]:
    """Gaussians of each person who covers at most so many pixels in the source camera."""
    wanted = (count * GAUSSIANS_PER_PIXEL for count in pixels)
    return [min(max(count, MIN_GAUSSIANS), MAX_GAUSSIANS) for count in wanted]


def choose_device(wanted: str) -> torch.device:
    """Where to compute; raises FaultsError when CUDA is wanted and not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        remedy = "set device=auto or device=cpu"
        raise FaultsError([Fault("device=cuda, but torch sees no CUDA device", remedy=remedy)])
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
