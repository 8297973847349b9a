"""Choose the cameras and frames that are evaluated; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preprocess.faults import Fault, FaultsError
from training.trainer.cameras.camera_ids import (
    HELD_OUT,
    VIEWS,
    CameraIds,
    evenly_spaced,
    unknown_camera_faults,
)
from training.trainer.config.schema import Config, Evaluation, Export

CAMERAS = "train.evaluation.eval_cameras"
FRAMES = "train.evaluation.eval_frames"
EXPORTED = "train.export.posed_frames"
SAMPLE_EVERY = "train.optimization.sample_every"
TRAINING_VIEWS = ("source", "num_cameras", "start_camera_id", "captured_cameras")
"""Keys of trn_nv_gen that say which cameras a model was trained on."""
MOST_FRAMES = 30
"""Frames that are evaluated unless more are wanted."""
SHOWN_FRAMES = 5


@dataclass(frozen=True)
class EvaluatedViews:
    """The cameras and the frames, as indices among those trained on, that are evaluated."""

    cameras: tuple[int, ...]
    indices: tuple[int, ...]


def choose_views(
    settings: Evaluation, uses: CameraIds, true_cameras: Sequence[int], frames: Sequence[int]
) -> EvaluatedViews:
    """Return what is evaluated of a model that was trained on `frames`.

    Raises FaultsError with every camera and frame that can't be.
    """
    cameras, faults = _cameras(settings.eval_cameras, uses, true_cameras)
    indices, more = _indices(settings.eval_frames or MOST_FRAMES, frames, FRAMES)
    if faults or more:
        raise FaultsError([*faults, *more])
    return EvaluatedViews(cameras, indices)


def config_of_training(config: Config, identity: Mapping[str, Any]) -> Config:
    """Return the configuration with the uses of cameras of the training with this identity.

    `identity`: values by dotted key. Raises FaultsError when the configuration holds out others.
    """
    train = config.train
    wanted = train.evaluation.held_out_cameras
    held_out = identity.get(HELD_OUT, wanted)
    if wanted and wanted != held_out:
        remedy = "name what is evaluated with train.evaluation.eval_cameras"
        raise FaultsError([Fault(f"{HELD_OUT} are those of the training", str(wanted), remedy)])
    views = train.nv_generation.trn_nv_gen
    then = {name: identity.get(f"{VIEWS}.{name}", getattr(views, name)) for name in TRAINING_VIEWS}
    generation = train.nv_generation.model_copy(
        update={"trn_nv_gen": views.model_copy(update=then)}
    )
    evaluation = train.evaluation.model_copy(update={"held_out_cameras": held_out})
    trained = train.model_copy(update={"nv_generation": generation, "evaluation": evaluation})
    return config.model_copy(update={"train": trained})


def choose_exported(settings: Export, frames: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of the frames whose poses are exported; raises FaultsError."""
    wanted = settings.posed_frames
    indices, faults = _indices(wanted, frames, EXPORTED) if wanted else ((), [])
    if faults:
        raise FaultsError(faults)
    return indices


def _cameras(
    wanted: str | int | list[int] | None, uses: CameraIds, true_cameras: Sequence[int]
) -> tuple[tuple[int, ...], list[Fault]]:
    trained = (uses.source, *uses.novel)
    if wanted is None:
        return uses.held_out, []
    if isinstance(wanted, str):  # unseen
        return tuple(camera for camera in true_cameras if camera not in trained), []
    if isinstance(wanted, int):
        return tuple(evenly_spaced(uses.held_out, wanted)), []
    named = tuple(dict.fromkeys(int(camera) for camera in wanted))
    faults = unknown_camera_faults(named, true_cameras, CAMERAS)
    return named, [*faults, *_trained_camera_faults(named, trained)]


def _trained_camera_faults(named: Sequence[int], trained: Sequence[int]) -> list[Fault]:
    remedy = "leave it out: a model is evaluated on cameras that it has not seen"
    return [
        Fault(f"{CAMERAS} names a camera that is trained on", str(camera), remedy)
        for camera in named
        if camera in trained
    ]


def _indices(
    wanted: str | int | list[int], frames: Sequence[int], key: str
) -> tuple[tuple[int, ...], list[Fault]]:
    every = range(len(frames))
    if isinstance(wanted, str):  # all
        return tuple(every), []
    if isinstance(wanted, int):
        return tuple(evenly_spaced(every, wanted)), []
    named = dict.fromkeys(int(frame) for frame in wanted)
    index_of = {frame: index for index, frame in enumerate(frames)}
    faults = [_frame_fault(frame, frames, key) for frame in named if frame not in index_of]
    return tuple(index_of[frame] for frame in named if frame in index_of), faults


def _frame_fault(frame: int, frames: Sequence[int], key: str) -> Fault:
    near = sorted(sorted(frames, key=lambda other: abs(other - frame))[:SHOWN_FRAMES])
    remedy = f"nearest: {', '.join(map(str, near))}; the model has no poses of other frames"
    return Fault(f"{key} names a frame that is not trained on", str(frame), remedy)
