"""The schema of train.yaml: the type and range of each key; no torch.

train.yaml's comments say what each key means.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from preprocess.roots import under_checkout
from training.configuration.run_modes import RunModeName

EXPERIMENTS = "_experiments"
MAX_SH_DEGREE = 3  # of what viewers of 3DGS files show

Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # seeds of epochs and steps are made from it
Filled = Annotated[list[Count], Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Timesteps = Annotated[list[Annotated[int, Field(ge=0, lt=1000)]], Field(min_length=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
ImageSource = Literal["rendered", "refined", "captured"]
Strategy = Literal["static_orbit", "source_arc"]
"""The keys of STRATEGIES in cameras/strategies.py, which this module can't import: it has torch."""
CpuRasterizer = Literal["auto", "compiled", "pytorch"]
LpipsNetwork = Literal["vgg", "alex"]
GaussianParameter = Literal["position", "scale", "rotation", "opacity", "color"]
Auto = Literal["auto"]


def _check_group_pattern(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError("expected a regular expression with one (group)")
    return pattern


def _check_direction(direction: list[float]) -> list[float]:
    if not any(direction):
        raise ValueError("expected a direction, not [0,0,0]")
    return direction


Finite = Annotated[float, Field(allow_inf_nan=False)]
Direction = Annotated[
    list[Finite], Field(min_length=3, max_length=3), AfterValidator(_check_direction)
]


class Section(BaseModel):
    """A mapping of train.yaml: unknown keys are refused, values are not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Wandb(Section):
    """Weights & Biases."""

    enable: bool
    project: Name
    entity: Name | None
    tags: list[Name]


class Switch(Section):
    """A feature that is on or off."""

    enable: bool


class Shared(Section):
    """What launcher and trainer both know: names, folders, loggers."""

    scene_name: Name
    exp_name: Name
    results_root: str
    scene_data_root: str
    scene_file: str
    wandb: Wandb
    tensorboard: Switch


class Model(Section):
    """The people and the background."""

    body_file: str
    female_body_file: str | None
    male_body_file: str | None
    smpl_body_file: str
    smpl_female_body_file: str | None
    smpl_male_body_file: str | None
    gaussians_per_person: Auto | Positive
    cloth_thickness_m: Annotated[float, Field(ge=0, le=0.2)]
    background: Annotated[float, Field(ge=0, le=1)]
    densification: Literal["none", "default", "mcmc"]
    max_gaussians: Positive
    sh_degree: Annotated[int, Field(ge=0, le=MAX_SH_DEGREE)]


class Data(Section):
    """How views get into memory."""

    cache_mb: Count
    loader_threads: Count


class LearningRates(Section):
    """The initial learning rate of each kind of parameter."""

    pose_rotation: Rate
    pose_translation: Rate
    shape: Rate
    position: Rate
    scale: Rate
    rotation: Rate
    opacity: Rate
    color: Rate
    harmonics: Rate
    final_fraction: Fraction


class LossWeights(Section):
    """The weights of the terms of the loss."""

    rgb: Rate
    ssim: Rate
    silhouette: Rate
    depth: Rate
    offset: Rate
    scale: Rate
    pose_prior: Rate
    pose_smoothness: Rate
    interpenetration: Rate


class Optimization(Section):
    """How long, how fast and by which losses to train."""

    epochs: Positive
    pose_epochs: Auto | Count
    tune_poses_with_gaussians: bool
    checkpoint_every_epoch: Positive
    sample_every: Positive
    use_bbox_crop: bool
    bbox_pad: Count
    batch_size: Positive
    train_params: Annotated[list[GaussianParameter], Field(min_length=1)]
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    weight_decay: Rate
    grad_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    learning_rate: LearningRates
    loss: LossWeights


class PoseEval(Section):
    """Which poses are evaluated."""

    eval_smpl: bool


class ViewEval(Section):
    """How views are compared."""

    downscale_factor: Annotated[int, Field(ge=1, le=8)]


class Evaluation(Section):
    """When to evaluate, and on which cameras."""

    eval_every_epoch: Positive
    held_out_cameras: list[Count]
    eval_cameras: Literal["unseen"] | Positive | Filled | None
    eval_frames: Literal["all"] | Positive | Filled | None
    eval_true_poses: bool
    eval_lpips: LpipsNetwork
    eval_videos: bool
    eval_animation_frames: Annotated[int, Field(ge=0, le=600)]
    pose_eval: PoseEval
    nvs_eval: ViewEval


class Export(Section):
    """What is written of the trained people, besides each one in the canonical pose."""

    posed_frames: Literal["all"] | Positive | Filled | None


class RuntimeCamera(Section):
    """How virtual cameras are placed."""

    strategy: Strategy
    elevation_deg: Annotated[float, Field(gt=-90, lt=90)]
    margin: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    arc_deg: Annotated[float, Field(gt=0, le=360)]
    body_radius_m: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    up: Direction | None


class TrainingViews(Section):
    """Which novel views are trained on."""

    source: ImageSource
    num_cameras: Count
    start_camera_id: Count
    captured_cameras: list[Count]
    weight: Rate
    runtime_camera: RuntimeCamera


class NovelViewGeneration(Section):
    """When novel views are made, and which."""

    nv_gen_epoch: Auto | Count
    trn_nv_gen: TrainingViews


class TrainDifix(Section):
    """Keys of the image refiner in their other place: those of `difix` refer to them."""

    trn_enable: bool
    model_id: str
    is_prev_cam_always_source: bool
    prompt: str
    timesteps: Timesteps


class Train(Section):
    """Everything about `run_mode=train`."""

    difix: TrainDifix
    optimization: Optimization
    evaluation: Evaluation
    export: Export
    nv_generation: NovelViewGeneration


class Difix(Section):
    """The image refiner."""

    trn_enable: bool
    model_id: str
    is_prev_cam_always_source: bool
    prompt: str
    timesteps: Timesteps
    same_group: Literal["refuse", "label"]


class TargetCameras(Section):
    """The cameras of the refiner's training set."""

    mode: Literal["all_except_source", "explicit"]
    ids: list[Count]


class DataSet(Section):
    """How the scenes of one data set are grouped for the split; their names begin with its name."""

    group_pattern: Annotated[str, AfterValidator(_check_group_pattern)] | None
    test_groups: list[Name]


class DifixDataGeneration(Section):
    """How a training set for the refiner is made."""

    target_cameras: TargetCameras
    frame_stride: Positive
    max_samples_per_camera: Positive | None
    min_mask_coverage: Annotated[float, Field(ge=0, le=1)]
    poses: Literal["truth", "fitted"]
    require_checkpoint: bool
    workers: Auto | Positive
    datasets: dict[str, DataSet]
    strict: bool
    test_groups: list[Name] | None
    allow_partial: bool
    prompt: str


class RefinerTrain(Section):
    """How a small refiner is trained on that set."""

    dataset: str | None
    steps: Positive
    batch_size: Positive
    crop: Annotated[int, Field(ge=32, multiple_of=8)]
    channels: Annotated[int, Field(ge=8)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    checkpoint_every_steps: Positive
    max_eval_samples: Positive


class Config(Section):
    """train.yaml with overrides, interpolations resolved."""

    run_mode: RunModeName
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    cpu_rasterizer: CpuRasterizer
    shared: Shared
    data: Data
    model: Model
    train: Train
    difix: Difix
    difix_data_generation: DifixDataGeneration
    refiner_train: RefinerTrain

    @property
    def pose_epochs(self) -> int:
        """Epochs of the first stage; `auto` is a fifth of all."""
        given = self.train.optimization.pose_epochs
        return self.train.optimization.epochs // 5 if given == "auto" else given

    @property
    def nv_gen_epoch(self) -> int:
        """The epoch before which novel views are made.

        `auto`: captured ones when the second stage begins; rendered ones in its middle, when there
        is something to render.
        """
        given = self.train.nv_generation.nv_gen_epoch
        if given != "auto":
            return given
        last = self.train.optimization.epochs - 1
        captured = self.train.nv_generation.trn_nv_gen.source == "captured"
        return min(self.pose_epochs if captured else (self.pose_epochs + last) // 2, last)

    @property
    def experiment_output(self) -> Path:
        """The folder of what is made of all scenes of this experiment."""
        return under_checkout(self.shared.results_root) / EXPERIMENTS / self.shared.exp_name

    @property
    def output(self) -> Path:
        """This run's output folder."""
        return (
            under_checkout(self.shared.results_root) / self.shared.scene_name / self.shared.exp_name
        )
