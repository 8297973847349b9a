"""Measure how good the model is on held-out cameras, and how close its poses are to true ones."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.system.atomic_write import write_atomically
from training.trainer.cameras.views import View, ViewReader
from training.trainer.evaluation.evaluated_views import EvaluatedViews
from training.trainer.evaluation.metrics import mpjpe, pa_mpjpe, psnr, ssim
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import render

TableRow = dict[str, Any]
POSE_ERRORS = {"mpjpe_mm": mpjpe, "pa_mpjpe_mm": pa_mpjpe}
Lpips = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class GroundTruth:
    """What evaluations compare with.

    A reader of true views, which of them are evaluated, the true joints (F, P, 22, 3) by body space
    (None where the truth has none; first the space that poses are fitted in), and `missing_reasons`
    by key of metrics.json.
    """

    reader: ViewReader
    evaluated: EvaluatedViews
    joints: Mapping[str, Tensor | None]
    lpips: Lpips | None
    missing_reasons: Mapping[str, str] = field(default_factory=dict)

    def views(self) -> Iterator[View]:
        """Yield the evaluated views, one at a time: all at once they may not fit into memory."""
        cameras = self.evaluated.cameras
        return self.reader.views((id_, i) for i in self.evaluated.indices for id_ in cameras)


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation: a row per view, a row per frame and person, and their means."""

    images: list[TableRow]
    poses: list[TableRow]
    summary: dict[str, float | None]


@torch.no_grad()
def evaluate(model: SceneModel, truth: GroundTruth, background: float) -> EvaluationResult:
    """Compare renders of held-out views, and the model's poses, with the truth.

    Views are rendered with the model's own poses.
    """
    images = [_image_row(model, view, truth.lpips, background) for view in truth.views()]
    poses = _pose_rows(model, truth)
    means = _means(images, ("psnr", "psnr_foreground", "ssim", "lpips"))
    means |= _means(
        poses, [f"{prefix}{name}" for prefix in _prefixes(truth) for name in POSE_ERRORS]
    )
    return EvaluationResult(images, poses, means)


@torch.no_grad()
def rendered_images(model: SceneModel, views: Iterable[View], background: float) -> list[Tensor]:
    """Render the given views; return images (H, W, 3)."""
    return [render(model.gaussians_at(view.index), view.camera, background).image for view in views]


def write_csv(path: Path, rows: Sequence[TableRow]) -> None:
    """Write rows with the same keys as CSV; raises OSError."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())


def _image_row(model: SceneModel, view: View, lpips: Lpips | None, background: float) -> TableRow:
    image = render(model.gaussians_at(view.index), view.camera, background).image.clamp(0, 1)
    people = view.masks.sum(-1) > 0
    return {
        "camera": view.camera_id,
        "frame": view.frame,
        "psnr": psnr(image, view.image),
        "psnr_foreground": psnr(image, view.image, people),
        "ssim": ssim(image, view.image),
        "lpips": lpips(image, view.image) if lpips else None,
    }


def _pose_rows(model: SceneModel, truth: GroundTruth) -> list[TableRow]:
    errors: dict[str, Tensor] = {}
    for prefix, joints in zip(_prefixes(truth), truth.joints.values(), strict=True):
        if joints is not None:
            indices = torch.tensor(truth.evaluated.indices, device=joints.device)
            ours = model.joints(indices)
            for name, measure in POSE_ERRORS.items():
                errors[f"{prefix}{name}"] = measure(ours, joints[indices])
    people = range(truth.reader.people if errors else 0)
    return [
        {"frame": truth.reader.frames[index], "person": person}
        | {name: float(error[row, person]) for name, error in errors.items()}
        for row, index in enumerate(truth.evaluated.indices)
        for person in people
    ]


def _prefixes(truth: GroundTruth) -> list[str]:
    return ["" if at == 0 else f"{space}_" for at, space in enumerate(truth.joints)]


def _means(rows: Sequence[TableRow], names: Sequence[str]) -> dict[str, float | None]:
    """Return each column's mean over the rows that have a number there; None where no row has."""
    return {name: _mean([row.get(name) for row in rows]) for name in names}


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else None
