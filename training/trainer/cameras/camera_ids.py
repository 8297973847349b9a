"""Choose which cameras are trained on and which are only evaluated on; the sets never overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.trainer.config.schema import Config, TrainingViews

VIEWS = "train.nv_generation.trn_nv_gen"
HELD_OUT = "train.evaluation.held_out_cameras"
AUTOMATIC_HELD_OUT = 3


@dataclass(frozen=True)
class CameraIds:
    """Camera ids by use: the source camera, those of novel views, those held out for evaluation."""

    source: int
    novel: tuple[int, ...]
    held_out: tuple[int, ...]


def choose_cameras(config: Config, source: int, true_cameras: Sequence[int]) -> CameraIds:
    """Decide every camera's use; `true_cameras` are those of the truth folder, empty without one.

    Raises FaultsError with every id that is unknown or used twice.
    """
    views = config.train.nv_generation.trn_nv_gen
    others = [camera for camera in true_cameras if camera != source]
    wanted = config.train.evaluation.held_out_cameras
    held_out = tuple(wanted or evenly_spaced(others, min(AUTOMATIC_HELD_OUT, len(others))))
    faults = unknown_camera_faults(wanted, true_cameras, HELD_OUT)
    if views.source == "captured":
        free = [camera for camera in others if camera not in held_out]
        novel = tuple(views.captured_cameras or evenly_spaced(free, views.num_cameras))
        faults += _captured_faults(views, novel, free, true_cameras)
    else:
        novel = tuple(views.start_camera_id + i for i in range(views.num_cameras))
    faults += _overlap_faults(source, novel, held_out, config)
    if faults:
        raise FaultsError(faults)
    return CameraIds(source, novel, held_out)


def evenly_spaced(ids: Sequence[int], count: int) -> list[int]:
    """Return `count` of `ids`, evenly spread over the sequence with equal room at both ends."""
    if count >= len(ids):
        return list(ids)
    return [ids[(i + 1) * (len(ids) + 1) // (count + 1) - 1] for i in range(count)]


def _captured_faults(
    views: TrainingViews, novel: Sequence[int], free: Sequence[int], true_cameras: Sequence[int]
) -> list[Fault]:
    if views.captured_cameras:
        faults = unknown_camera_faults(
            views.captured_cameras, true_cameras, f"{VIEWS}.captured_cameras"
        )
        if len(set(novel)) != views.num_cameras:
            what = f"{VIEWS}.captured_cameras names another number than num_cameras"
            value = f"{list(novel)} for {views.num_cameras}"
            faults.append(Fault(what, value, f"set {VIEWS}.num_cameras={len(set(novel))}"))
        return faults
    if len(novel) == views.num_cameras:
        return []
    what = f"{VIEWS}.num_cameras is more than the data set has left to capture from"
    remedy = "lower it, or hold out fewer cameras; captured views need raw_gt_dir_path in the scene"
    return [Fault(what, f"{views.num_cameras} of {list(free)}", remedy)]


def unknown_camera_faults(ids: Sequence[int], true_cameras: Sequence[int], key: str) -> list[Fault]:
    """Return a fault for each of `ids`, given by a key, that the truth has no camera of."""
    valid = [str(camera) for camera in true_cameras] or ["none, the scene has no truth folder"]
    return [
        Fault(f"{key} names a camera that the truth lacks", str(camera), did_you_mean("", valid))
        for camera in ids
        if camera not in true_cameras
    ]


def _overlap_faults(
    source: int, novel: Sequence[int], held_out: Sequence[int], config: Config
) -> list[Fault]:
    key = "start_camera_id"
    if config.train.nv_generation.trn_nv_gen.source == "captured":
        key = "captured_cameras"
    uses = {"the source camera": {source}, "a held-out camera": set(held_out)}
    faults = [
        Fault(f"a novel-view camera is {use} too", str(camera), f"choose another {VIEWS}.{key}")
        for use, ids in uses.items()
        for camera in sorted(ids.intersection(novel))
    ]
    if source in held_out:
        remedy = "held-out cameras are never trained on: name others"
        faults.append(Fault(f"{HELD_OUT} names the source camera", str(source), remedy))
    return faults
