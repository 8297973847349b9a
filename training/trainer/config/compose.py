"""Compose the trainer's configuration with Hydra and validate it by the schema; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.roots import CHECKOUT
from training.configuration.configuration_file import write_configuration
from training.configuration.interpolations import resolve
from training.configuration.overrides import compose
from training.configuration.run_modes import RUN_MODES
from training.trainer.config.schema import Config, GaussianParameter, TargetCameras

CONFIG_FILE = CHECKOUT / "training" / "configs" / "train.yaml"
REQUIRED = ("scene_name", "exp_name")
MISSING = "???"
REQUIRED_KEY = "the trainer needs it: leave out the override that removes it"
TYPE_NAMES = ("constrained-int", "int", "none")
"""How pydantic names the types of a key that takes several, besides `literal[…]`, `list[…]`."""


def load_config(overrides: Sequence[str]) -> Config:
    """Compose train.yaml with overrides and validate the result.

    Raises FaultsError with everything that is wrong with overrides, types and combinations.
    """
    composed = compose(CONFIG_FILE, overrides, reserved={})
    content, faults = composed.content, [*composed.faults]
    mode = RUN_MODES.get(str(content.get("run_mode")))
    shared = content.get("shared", {})
    if mode and mode.is_for_experiment and shared.get("scene_name") == MISSING:
        shared["scene_name"] = ""  # it is about all scenes
    faults += [
        Fault(f"shared.{key} is missing", remedy=f"add shared.{key}=NAME")
        for key in REQUIRED
        if shared.get(key) == MISSING
    ]
    try:
        config = check_schema(resolve(content))
    except FaultsError as error:
        raise FaultsError([*faults, *error.faults]) from error
    if faults:
        raise FaultsError(faults)
    return config


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """Return train.yaml with overrides, interpolations as they are written.

    Raises FaultsError with everything that is wrong with the overrides.
    """
    found = compose(CONFIG_FILE, overrides, reserved={})
    if found.faults:
        raise FaultsError(found.faults)
    return found.content


def keep_configuration(config: Config) -> None:
    """Write the whole configuration beside the outputs of a scene's run; raises OSError."""
    folder = config.output / RUN_MODES[config.run_mode].output_subdir
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(folder, config.model_dump(mode="json"))


def check_schema(resolved: dict[str, Any]) -> Config:
    """Return the checked form of a configuration that is composed and resolved.

    Raises FaultsError with every key that is unknown or wrong, or else every contradiction.
    """
    try:
        config = Config.model_validate(resolved)
    except ValidationError as error:
        raise FaultsError(_schema_faults(error)) from error
    if contradictions := _contradictions(config):
        raise FaultsError(contradictions)
    return config


def _schema_faults(error: ValidationError) -> list[Fault]:
    """Convert pydantic's errors into faults in terms of train.yaml, one for each key."""
    values: dict[str, Any] = {}
    remedies: dict[str, list[str]] = {}
    absent = [item for item in error.errors() if item["type"] == "missing"]
    for item in (item for item in error.errors() if item not in absent):
        key = _key_at(item["loc"])
        values.setdefault(key, item["input"])
        remedies.setdefault(key, []).append(_remedy_of(item))
    faults = [
        Fault(f"{key} has a wrong value", repr(value), ", or ".join(dict.fromkeys(remedies[key])))
        for key, value in values.items()
    ]
    names = [".".join(map(str, item["loc"])) for item in absent]
    return faults + [Fault(f"{name} is missing", remedy=REQUIRED_KEY) for name in names]


def _key_at(place: Sequence[int | str]) -> str:
    """Return the dotted key at a place of pydantic's, where types and list indices are parts too.

    A key of several types comes once for each.
    """
    parts = [part for part in place if isinstance(part, str)]
    return ".".join(part for part in parts if part not in TYPE_NAMES and "[" not in part)


def _remedy_of(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "remove it: train.yaml has no such key"
    if item["type"] == "literal_error":
        valid = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return did_you_mean(str(item["input"]), valid)
    return str(item["msg"]).replace("Input should be", "expected")


def _contradictions(config: Config) -> list[Fault]:
    """Return the faults that no key shows alone."""
    optimization, views = config.train.optimization, config.train.nv_generation.trn_nv_gen
    faults = []
    # A sweep's setting has a folder inside the sweep's: `my_sweep/seed=1`.
    if "\0" in config.shared.exp_name or {"", ".", ".."} & set(config.shared.exp_name.split("/")):
        remedy = "it names a folder: leave out .. and slashes at its ends"
        faults.append(Fault("shared.exp_name can't be used", repr(config.shared.exp_name), remedy))
    faults += _densification_faults(config)
    faults += _target_camera_faults(config.difix_data_generation.target_cameras)
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


def _densification_faults(config: Config) -> list[Fault]:
    """Return a fault for each key that densification can't go with."""
    optimization, kind = config.train.optimization, config.model.densification
    if kind == "none":
        return []
    remedy = "leave it out, or set model.densification=none"
    faults = []
    if optimization.batch_size > 1:
        what = f"model.densification={kind} counts one frame a step, but train.optimization"
        faults.append(Fault(what, f"batch_size={optimization.batch_size}", remedy))
    if set(optimization.train_params) != set(get_args(GaussianParameter)):
        what = f"model.densification={kind} changes all parameters, but train.optimization"
        value = f"train_params=[{','.join(optimization.train_params)}]"
        faults.append(Fault(what, value, remedy))
    return faults


def _target_camera_faults(cameras: TargetCameras) -> list[Fault]:
    key, explicit = "difix_data_generation.target_cameras", cameras.mode == "explicit"
    if explicit and not cameras.ids:
        return [Fault(f"{key}.mode=explicit, but no camera is named", remedy=f"set {key}.ids")]
    if cameras.ids and not explicit:
        remedy = f"set {key}.mode=explicit, or leave the ids out"
        return [Fault(f"{key}.ids are given, but its mode is", cameras.mode, remedy)]
    return []
