"""The trainer's configuration: composed by Hydra, checked by the schema; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.trainer.schema import CHECKOUT, Config

CONFIG_FILE = CHECKOUT / "training" / "configs" / "train.yaml"
REQUIRED = ("scene_name", "exp_name")
UNION_PARTS = ("literal['auto']", "constrained-int", "int", "none")


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
    if {"/", "\0"} & set(config.shared.exp_name) or config.shared.exp_name in ("", ".", ".."):
        remedy = "it names one folder: leave out slashes"
        faults.append(Fault("shared.exp_name can't be used", repr(config.shared.exp_name), remedy))
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
