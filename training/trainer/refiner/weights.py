"""What `difix.model_id` names, and what is missing to use it; no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from preprocess.faults import Fault
from preprocess.roots import under_checkout
from training.trainer.config.schema import Difix

Kind = Literal["small", "checkpoint", "diffusers"]
PROMPT = "remove degradation"
TIMESTEP = 199
"""Prompt and noise level that DiFix models are trained with."""
SMALL_MODEL = "model.pt"
DIFFUSERS_INDEX = "model_index.json"
CHECKPOINT_SUFFIX = ".pkl"
BASE_MODEL = "stabilityai/sd-turbo"
"""The model that the public DiFix training script starts from; a checkpoint is of its parts."""
PACKAGES: dict[Kind, tuple[str, ...]] = {
    "small": (),
    "checkpoint": ("diffusers", "transformers", "huggingface_hub", "peft"),
    "diffusers": ("diffusers", "transformers", "huggingface_hub"),
}


def kind_of(model_id: str) -> Kind:
    """Return the kind of weights that a folder, a file or a model id names."""
    path = under_checkout(model_id)
    if (path / SMALL_MODEL).is_file():
        return "small"
    return "checkpoint" if path.suffix == CHECKPOINT_SUFFIX else "diffusers"


def local_path(model_id: str) -> Path | None:
    """Return the folder or file that a model id names; None for one of the Hugging Face cache."""
    path = under_checkout(model_id)
    return path if path.exists() else None


def missing_refiner(difix: Difix) -> list[Fault]:
    """Return faults for what `difix.trn_enable` needs and this machine lacks; loads nothing."""
    if not difix.trn_enable:
        return []
    kind = kind_of(difix.model_id)
    if absent := _absent(PACKAGES[kind]):
        remedy = "pip install them, or name the folder that run_mode=refiner_train wrote"
        return [Fault("difix.model_id needs packages", ", ".join(absent), remedy)]
    found = {"small": _no_fault, "checkpoint": _checkpoint_faults, "diffusers": _diffusers_faults}
    return found[kind](difix.model_id)


def _absent(packages: Sequence[str]) -> list[str]:
    return [name for name in packages if importlib.util.find_spec(name) is None]


def _no_fault(_: str) -> list[Fault]:
    return []


def _checkpoint_faults(model_id: str) -> list[Fault]:
    path, faults = under_checkout(model_id), []
    if not path.is_file():
        remedy = "name a model_<step>.pkl of the DiFix training script"
        faults.append(Fault("difix.model_id is not a file", str(path), remedy))
    if not _is_cached(BASE_MODEL):
        remedy = "download it into the Hugging Face cache: the checkpoint has only what was tuned"
        faults.append(Fault("the base of a tuned DiFix is not here", BASE_MODEL, remedy))
    return faults


def _diffusers_faults(model_id: str) -> list[Fault]:
    path = under_checkout(model_id)
    if (path / DIFFUSERS_INDEX).is_file() or _is_cached(model_id):
        return []
    checkpoints = sorted(path.rglob(f"*{CHECKPOINT_SUFFIX}")) if path.is_dir() else []
    remedy = (
        f"name a folder with {SMALL_MODEL} (from run_mode=refiner_train) or {DIFFUSERS_INDEX}, "
        "a model_<step>.pkl, or download the model into the Hugging Face cache"
    )
    if checkpoints:
        remedy = f"name one of its checkpoints, e.g. difix.model_id={checkpoints[-1]}"
    return [Fault("difix.model_id has no weights here", model_id, remedy)]


def _is_cached(model_id: str) -> bool:
    from huggingface_hub import try_to_load_from_cache  # type: ignore[import-not-found,unused-ignore]
    from huggingface_hub.errors import HFValidationError  # type: ignore[import-not-found,unused-ignore]

    try:
        return isinstance(try_to_load_from_cache(model_id, DIFFUSERS_INDEX), str)
    except HFValidationError:
        return False
