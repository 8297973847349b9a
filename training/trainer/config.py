"""The trainer's configuration: composed by Hydra, checked by a schema; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from preprocess.faults import Fault, FaultsError, did_you_mean

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG_FILE = CHECKOUT / "training" / "configs" / "train.yaml"
REQUIRED = ("scene_name", "exp_name")
UNION_PARTS = ("literal['auto']", "constrained-int", "int", "none")

Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
ImageSource = Literal["rendered", "refined", "captured"]
Strategy = Literal["static_orbit", "source_arc"]
Auto = Literal["auto"]


class Section(BaseModel):
    """A mapping of train.yaml: unknown keys are refused, types are not bent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Wandb(Section):
    """Weights & Biases."""

    enable: bool
    project: Name


class Switch(Section):
    """On or off."""

    enable: bool


class Shared(Section):
    """What launcher and trainer both know: names, folders, tracking."""

    scene_name: Name
    exp_name: Name
    results_root: str
    scene_data_root: str
    scene_file: str
    wandb: Wandb
    tensorboard: Switch


class Model(Section):
    """The people and what is behind them."""

    body_file: str
    smpl_body_file: str
    gaussians_per_person: Auto | Positive
    background: Annotated[float, Field(ge=0, le=1)]


class LearningRates(Section):
    """First learning rate of each kind of parameter."""

    pose_rotation: Rate
    pose_translation: Rate
    shape: Rate
    position: Rate
    scale: Rate
    rotation: Rate
    opacity: Rate
    color: Rate
    final_fraction: Fraction


class LossWeights(Section):
    """Weights of the terms of the loss."""

    rgb: Rate
    ssim: Rate
    silhouette: Rate
    depth: Rate
    offset: Rate
    scale: Rate
    pose_prior: Rate
    pose_smoothness: Rate


class Optimization(Section):
    """How long, how fast, towards what."""

    epochs: Positive
    pose_epochs: Auto | Count
    tune_poses_with_gaussians: bool
    checkpoint_every_epoch: Positive
    learning_rate: LearningRates
    loss: LossWeights


class PoseEval(Section):
    """Which poses are evaluated."""

    eval_smpl: bool


class Evaluation(Section):
    """When and on which cameras."""

    eval_every_epoch: Positive
    held_out_cameras: list[Count]
    pose_eval: PoseEval


class RuntimeCamera(Section):
    """Where virtual cameras stand."""

    strategy: Strategy
    elevation_deg: Annotated[float, Field(gt=-90, lt=90)]
    margin: Annotated[float, Field(ge=1)]
    arc_deg: Annotated[float, Field(gt=0, le=360)]


class TrainingViews(Section):
    """Which novel views are trained on."""

    source: ImageSource
    num_cameras: Count
    start_camera_id: Count
    captured_cameras: list[Count]
    weight: Rate
    runtime_camera: RuntimeCamera


class NovelViewGeneration(Section):
    """When novel views are made."""

    nv_gen_epoch: Auto | Count
    trn_nv_gen: TrainingViews


class Train(Section):
    """Everything about `run_mode=train`."""

    optimization: Optimization
    evaluation: Evaluation
    nv_generation: NovelViewGeneration


class Difix(Section):
    """The image refiner."""

    trn_enable: bool
    model_id: str


class TargetCameras(Section):
    """Cameras of the refiner's training set."""

    mode: Literal["all", "ids"]
    ids: list[Count]


class DifixDataGeneration(Section):
    """Making a training set for the refiner."""

    target_cameras: TargetCameras
    frame_stride: Positive
    max_samples_per_camera: Positive | None
    min_mask_coverage: Annotated[float, Field(ge=0, le=1)]
    test_groups: list[str]


class Config(Section):
    """train.yaml with overrides, interpolations resolved."""

    run_mode: Literal["train", "difix_data_generation_generate", "difix_data_generation_aggregate"]
    seed: Count
    device: Literal["auto", "cpu", "cuda"]
    shared: Shared
    model: Model
    train: Train
    difix: Difix
    difix_data_generation: DifixDataGeneration

    @property
    def pose_epochs(self) -> int:
        """Epochs of the first stage; `auto` is a fifth of all."""
        given = self.train.optimization.pose_epochs
        return self.train.optimization.epochs // 5 if given == "auto" else given

    @property
    def nv_gen_epoch(self) -> int:
        """Epoch before which novel views are made.

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
    def output(self) -> Path:
        """This run's output folder."""
        return (
            under_checkout(self.shared.results_root) / self.shared.scene_name / self.shared.exp_name
        )


def under_checkout(path: str) -> Path:
    """An absolute path; a relative one starts at the checkout."""
    return CHECKOUT / Path(path).expanduser()


def load_config(overrides: Sequence[str]) -> Config:
    """Compose train.yaml with overrides and check it.

    Raises FaultsError with everything that is wrong with overrides, types and combinations.
    """
    content, faults = _compose(overrides)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise FaultsError(faults + _schema_faults(error)) from error
    faults += _contradictions(config)
    if faults:
        raise FaultsError(faults)
    return config


def _compose(overrides: Sequence[str]) -> tuple[dict[str, Any], list[Fault]]:
    """train.yaml with the overrides that Hydra takes, and what it says of the others."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    faults: list[Fault] = []
    with initialize_config_dir(str(CONFIG_FILE.parent), version_base=None):
        try:
            composed = compose(CONFIG_FILE.stem, overrides=list(overrides))
        except HydraException as error:
            refused = _refused(overrides) or {text: _line(error) for text in overrides}
            faults = [Fault("an override is refused", text, why) for text, why in refused.items()]
            taken = [text for text in overrides if text not in refused]
            composed = compose(CONFIG_FILE.stem, overrides=taken)
    for key in REQUIRED:
        if OmegaConf.is_missing(composed.shared, key):
            faults.append(Fault(f"shared.{key} is missing", remedy=f"add shared.{key}=NAME"))
            composed.shared[key] = "missing"
    try:
        content: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise FaultsError([*faults, Fault("an interpolation fails", _line(error))]) from error
    return {str(key): value for key, value in content.items()}, faults


def _refused(overrides: Sequence[str]) -> dict[str, str]:
    """What Hydra says of each override alone, where it refuses it."""
    from hydra import compose
    from hydra.errors import HydraException

    refused = {}
    for text in overrides:
        try:
            compose(CONFIG_FILE.stem, overrides=[text])
        except HydraException as error:
            refused[text] = _remedy(text, error)
    return refused


def _remedy(text: str, error: Exception) -> str:
    from omegaconf import OmegaConf

    key, assigned, _ = text.partition("=")
    if not assigned:
        return "write key=value"
    if "Could not override" not in str(error):
        return f"{_line(error)}; quote a text with special characters: \"{key}='...'\""
    known = list(_leaves(OmegaConf.to_container(OmegaConf.load(CONFIG_FILE))))
    last = key.rpartition(".")[2]
    return did_you_mean(key, [name for name in known if name.endswith(f".{last}")] or known)


def _schema_faults(error: ValidationError) -> list[Fault]:
    """Errors of pydantic in words of train.yaml, one for each key."""
    values: dict[str, Any] = {}
    remedies: dict[str, list[str]] = {}
    for item in error.errors():
        # A key of several types comes once for each, with the type behind its name.
        key = ".".join(str(part) for part in item["loc"] if str(part) not in UNION_PARTS)
        values[key] = item["input"]
        remedies.setdefault(key, []).append(_remedy_of(item))
    return [
        Fault(f"{key} has a wrong value", repr(values[key]), ", or ".join(remedies[key]))
        for key in values
    ]


def _remedy_of(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "remove it: train.yaml has no such key"
    if item["type"] == "literal_error":
        valid = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return did_you_mean(str(item["input"]), valid)
    return str(item["msg"]).replace("Input should be", "expected")


def _contradictions(config: Config) -> list[Fault]:
    """What no key alone shows to be wrong."""
    optimization, views = config.train.optimization, config.train.nv_generation.trn_nv_gen
    faults = []
    if config.run_mode != "train":
        faults.append(
            Fault("this run mode is not available yet", config.run_mode, "use run_mode=train")
        )
    if config.pose_epochs > optimization.epochs:
        faults.append(
            Fault(
                "train.optimization.pose_epochs is more than all epochs",
                f"{config.pose_epochs} of {optimization.epochs}",
                "raise train.optimization.epochs, or set pose_epochs=auto",
            )
        )
    if views.num_cameras and config.nv_gen_epoch >= optimization.epochs:
        faults.append(
            Fault(
                "train.nv_generation.nv_gen_epoch comes after the last epoch",
                f"{config.nv_gen_epoch} of {optimization.epochs} epochs",
                "lower it, or set nv_gen_epoch=auto",
            )
        )
    if (views.source == "refined") != config.difix.trn_enable:
        faults.append(
            Fault(
                "source=refined and difix.trn_enable=true go together",
                f"source={views.source}, difix.trn_enable={str(config.difix.trn_enable).lower()}",
                "set both or neither: train.nv_generation.trn_nv_gen.source, difix.trn_enable",
            )
        )
    return faults


def _leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [
        leaf
        for key, value in node.items()
        for leaf in _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    ]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
