"""Load the body model files that the configuration names: one for everyone, or by gender."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.body.body_model import BodyFileError, BodyModel, Space, load_body, stack_bodies
from preprocess.faults import Fault, FaultsError
from preprocess.roots import under_checkout
from preprocess.scene import Gender
from training.trainer.config.schema import Model


def load_people_bodies(model: Model, space: Space, genders: Sequence[Gender] | None) -> BodyModel:
    """Load the body model in a space: one for everyone, or one a person by their genders.

    Raises FaultsError with the key that names the file that can't be used.
    """
    keys = [body_file_key(model, space, gender) for gender in genders or ("neutral",)]
    loaded = {key: _load(model, key, space) for key in sorted(set(keys))}
    try:
        return stack_bodies([loaded[key] for key in keys])
    except BodyFileError as error:
        names = ", ".join(f"model.{key}" for key in loaded)
        raise FaultsError([Fault(str(error), names, "name files of one release")]) from error


def body_file_key(model: Model, space: Space, gender: Gender) -> str:
    """Return the key below `model` that names the file for a gender in a body space."""
    prefix = "" if space == "smplx" else "smpl_"
    own = f"{prefix}{gender}_body_file"
    return own if getattr(model, own, None) else f"{prefix}body_file"


def _load(model: Model, key: str, space: Space) -> BodyModel:
    try:
        return load_body(under_checkout(getattr(model, key)), space)
    except BodyFileError as error:
        raise FaultsError([Fault(str(error), remedy=f"set model.{key}")]) from error
