"""Measure how good the model is on unseen cameras, and how close its poses are to true ones.

docs/trainer.md, Evaluation, defines each number.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preprocess.body.body_model import BodyModel
from training.system.atomic_write import write_atomically
from training.trainer.cameras.views import View, ViewReader
from training.trainer.evaluation.evaluated_views import EvaluatedViews
from training.trainer.evaluation.metrics import (
    mask_iou,
    mean_of_map,
    mpjpe,
    pa_mpjpe,
    psnr,
    rr_mpjpe,
    scaled_down,
    similarity_map,
)
from training.trainer.evaluation.perceptual import Lpips, flip_map
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.model import PosedGaussians, SceneModel
from training.trainer.gaussians.render import COVERED, Rendered, render

TableRow = dict[str, Any]
Numbers = dict[str, float | None]
Progress = Callable[[int, int], None]
"""Called with the number of frames that are evaluated, and of all."""
JOINT_ERRORS = {"mpjpe_mm": mpjpe, "rr_mpjpe_mm": rr_mpjpe, "pa_mpjpe_mm": pa_mpjpe}
VERTEX_ERROR = "mve_mm"
IMAGE_NUMBERS = (
    "psnr",
    "psnr_foreground",
    "ssim",
    "ssim_foreground",
    "mask_iou",
    "flip",
    "flip_foreground",
    "lpips",
)
PERSON_NUMBERS = ("psnr", "ssim", "mask_iou")
TRUE_POSES = "_true_poses"
"""Ends the names of numbers of renders in the true poses, instead of the model's own."""


@dataclass(frozen=True)
class TrueBodies:
    """The true bodies of the frames that are trained on; `joints` (F, P, 22, 3), metres."""

    body: BodyModel
    parameters: BodyParameters
    joints: Tensor


@dataclass(frozen=True)
class GroundTruth:
    """What evaluations compare with.

    A reader of true views, which of them are evaluated, the true bodies by body space (None where
    the truth has none; first the space that poses are fitted in), and `missing_reasons` by key of
    metrics.json.
    """

    reader: ViewReader
    evaluated: EvaluatedViews
    bodies: Mapping[str, TrueBodies | None]
    lpips: Lpips | None
    downscale_factor: int = 1
    missing_reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> TrueBodies | None:
        """The true bodies in the space that poses are fitted in."""
        return next(iter(self.bodies.values()), None)

    def views(self) -> Iterator[View]:
        """Yield the evaluated views, one at a time: all at once they may not fit into memory."""
        cameras = self.evaluated.cameras
        return self.reader.views((id_, i) for i in self.evaluated.indices for id_ in cameras)


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation: a row per view, per person in a view, per person and frame; their means.

    `by_person` has the means of each person alone.
    """

    images: list[TableRow]
    people: list[TableRow]
    poses: list[TableRow]
    summary: Numbers
    by_person: list[TableRow]


@torch.no_grad()
def evaluate(
    model: SceneModel,
    truth: GroundTruth,
    background: float,
    *,
    in_true_poses: bool = False,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Compare renders of unseen views, and the model's poses, with the truth.

    Views are rendered in the model's own poses and, where wanted and known, in the true ones too.
    """
    images, people = list[TableRow](), list[TableRow]()
    models = {"": model}
    if in_true_poses and truth.own:
        models[TRUE_POSES] = in_true_bodies(model, truth.own)
    for count, (index, views) in enumerate(groupby(truth.views(), lambda view: view.index), 1):
        posed = {ending: each.gaussians_at(index) for ending, each in models.items()}
        for view in views:
            of_image, of_people = _view_rows(posed, view, background, truth)
            images.append(of_image)
            people += of_people
        if progress:
            progress(count, len(truth.evaluated.indices))
    poses = _pose_rows(model, truth)
    image_means = _means(images, [f"{name}{end}" for end in models for name in IMAGE_NUMBERS])
    person_numbers = [f"{name}{end}" for end in models for name in PERSON_NUMBERS]
    by_person = _by_person(people, person_numbers, poses, _pose_numbers(truth))
    summary = image_means | _means(poses, _pose_numbers(truth))
    return EvaluationResult(images, people, poses, summary, by_person)


def in_true_bodies(model: SceneModel, true: TrueBodies) -> SceneModel:
    """Return the model's Gaussians on the true bodies, in the true poses."""
    return model.with_bodies(true.body, true.parameters)


@torch.no_grad()
def rendered_image(model: SceneModel, view: View, background: float) -> Tensor:
    """Return what the model shows of a view: an image (H, W, 3)."""
    return render(model.gaussians_at(view.index), view.camera, background).image


def view_psnr(image: Tensor, view: View, downscale_factor: int) -> float | None:
    """Return the PSNR of an image of a view in dB, as the tables have it; None for equal images."""
    compared = (scaled_down(each, downscale_factor) for each in (image.clamp(0, 1), view.image))
    value = psnr(*compared)
    return value if math.isfinite(value) else None


def write_csv(path: Path, rows: Sequence[TableRow]) -> None:
    """Write rows with the same keys as CSV; raises OSError."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())


def _view_rows(
    posings: Mapping[str, PosedGaussians], view: View, background: float, truth: GroundTruth
) -> tuple[TableRow, list[TableRow]]:
    """Return the row of a view, and those of the people who are visible in it."""
    of_image: TableRow = {"camera": view.camera_id, "frame": view.frame}
    of_people = {
        person: {**of_image, "person": person, "pixels": int(view.masks[..., person].sum())}
        for person in range(view.masks.shape[-1])
        if view.masks[..., person].any()
    }
    for ending, posed in posings.items():
        rendered = render(posed, view.camera, background)
        image, people = compare_view(rendered, view, truth.lpips, truth.downscale_factor)
        of_image |= {f"{name}{ending}": value for name, value in image.items()}
        for person, row in of_people.items():
            row |= {f"{name}{ending}": value for name, value in people[person].items()}
    return of_image, list(of_people.values())


def compare_view(
    rendered: Rendered, view: View, lpips: Lpips | None, downscale_factor: int = 1
) -> tuple[Numbers, list[Numbers]]:
    """Return the numbers of IMAGE_NUMBERS for a view and of PERSON_NUMBERS for each person."""
    image, target, masks, alphas = (
        scaled_down(each, downscale_factor)
        for each in (rendered.image.clamp(0, 1), view.image, view.masks, rendered.person_alpha)
    )
    similarity, difference = similarity_map(image, target), flip_map(image, target)
    true, predicted = masks > COVERED, alphas > COVERED
    people = [
        Numbers(
            psnr=psnr(image, target, true[..., person]),
            ssim=mean_of_map(similarity, true[..., person]),
            mask_iou=mask_iou(predicted[..., person], true[..., person]),
        )
        for person in range(true.shape[-1])
    ]
    anyone = true.any(-1)
    whole = Numbers(
        psnr=psnr(image, target),
        psnr_foreground=psnr(image, target, anyone),
        ssim=mean_of_map(similarity),
        ssim_foreground=mean_of_map(similarity, anyone),
        mask_iou=_mean(person["mask_iou"] for person in people),
        flip=mean_of_map(difference),
        flip_foreground=mean_of_map(difference, anyone.to(difference.device)),
        lpips=lpips(image, target) if lpips else None,
    )
    return whole, people


def _pose_rows(model: SceneModel, truth: GroundTruth) -> list[TableRow]:
    """Return a row for each frame and person; none where no truth is known."""
    true_model = in_true_bodies(model, truth.own) if truth.own else None
    rows = []
    for index in truth.evaluated.indices:  # one at a time, to bound the memory of vertices
        errors = _pose_errors(model, true_model, truth, index)
        for person in range(model.people if errors else 0):
            row: TableRow = {"frame": truth.reader.frames[index], "person": person}
            rows.append(row | {name: float(error[person]) for name, error in errors.items()})
    return rows


def _pose_errors(
    model: SceneModel, true_model: SceneModel | None, truth: GroundTruth, index: int
) -> dict[str, Tensor]:
    """Return everyone's errors (P,) at a frame index."""
    at = torch.tensor([index], device=model.poses.betas.device)
    ours = model.joints(at)[0]
    errors = {
        f"{prefix}{name}": measure(ours, true.joints[index])
        for prefix, true in zip(_prefixes(truth), truth.bodies.values(), strict=True)
        if true is not None
        for name, measure in JOINT_ERRORS.items()
    }
    if true_model is not None:
        errors[VERTEX_ERROR] = mpjpe(model.vertices(at)[0], true_model.vertices(at)[0])
    return errors


def _pose_numbers(truth: GroundTruth) -> list[str]:
    """Return the names of the pose errors; without a truth they are missing, but named."""
    joints = [f"{prefix}{name}" for prefix in _prefixes(truth) for name in JOINT_ERRORS]
    return [*joints, VERTEX_ERROR]


def _prefixes(truth: GroundTruth) -> list[str]:
    return ["" if at == 0 else f"{space}_" for at, space in enumerate(truth.bodies)]


def _by_person(
    people: Sequence[TableRow],
    image_numbers: Sequence[str],
    poses: Sequence[TableRow],
    pose_numbers: Sequence[str],
) -> list[TableRow]:
    """Return each person's means over frames and cameras."""

    def of(person: int, rows: Sequence[TableRow]) -> list[TableRow]:
        return [row for row in rows if row["person"] == person]

    return [
        {"person": person}
        | _means(of(person, people), image_numbers)
        | _means(of(person, poses), pose_numbers)
        for person in sorted({row["person"] for row in (*people, *poses)})
    ]


def _means(rows: Sequence[TableRow], names: Sequence[str]) -> Numbers:
    """Return each column's mean over the rows that have a number there; None where no row has."""
    return {name: _mean(row.get(name) for row in rows) for name in names}


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else None
