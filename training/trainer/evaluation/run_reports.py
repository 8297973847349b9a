"""What a run reports while it trains: evaluations as files, progress lines, logged numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from preprocess.content_checks import evenly_spread
from training.system.atomic_write import write_json_atomically
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.camera_ids import CameraIds
from training.trainer.cameras.views import View
from training.trainer.config.schema import Config
from training.trainer.evaluation.animations import write_animations
from training.trainer.evaluation.evaluate import (
    EvaluationResult,
    GroundTruth,
    Numbers,
    Progress,
    evaluate,
    rendered_image,
    view_psnr,
    write_csv,
)
from training.trainer.evaluation.experiment_loggers import ExperimentLogger, report_progress
from training.trainer.evaluation.metrics import ALIGNMENT
from training.trainer.evaluation.pictures import (
    tile,
    to_pil_image,
    write_image_grid,
    write_video,
)
from training.trainer.gaussians.model import SceneModel
from training.trainer.output_files import OutputFolder

VIDEO_FRAMES = 300


@dataclass(frozen=True)
class ShownRender:
    """What a model shows of a view: a tile of the picture, and its PSNR, dB."""

    tile: Image.Image
    psnr: float | None


@dataclass
class RunReports:
    """Evaluates one run and reports about it.

    `initial_summary` is the evaluation before training; `initial_renders` are those at that
    time of the `shown` cameras and frame indices, for the picture that compares before and after.
    Animations have the field of view of `source_camera`. `refiner_tuned_on` says how the scene
    relates to those that its image refiner was tuned on, where it has one.
    """

    config: Config
    output: OutputFolder
    truth: GroundTruth
    cameras: CameraIds
    shown: Sequence[tuple[int, int]]
    initial_renders: Sequence[ShownRender]
    source_camera: Camera
    refiner_tuned_on: str | None = None
    loggers: Sequence[ExperimentLogger] = ()
    initial_summary: Numbers = field(default_factory=dict)

    def evaluate_initial(self, model: SceneModel, progress: Progress | None = None) -> None:
        """Evaluate the model before any training; raises OSError."""
        self.initial_summary = self._evaluate(model, 0, progress).summary

    def report_epoch(
        self, epoch: int, stage: str, losses: Mapping[str, float], started: float
    ) -> None:
        """Report the end of an epoch (the first is 1) that `started` at that monotonic time.

        `losses` are the mean `loss`, and its terms, which are logged alone.
        """
        seconds = time.monotonic() - started
        numbers = {"loss": losses["loss"], "seconds": seconds}
        epochs = self.config.train.optimization.epochs
        report_progress({"epoch": epoch, "epochs": epochs, "stage": stage} | _rounded(numbers))
        logged = {**losses, "seconds": seconds}
        self._log({f"train/{name}": value for name, value in logged.items()}, epoch)

    def report_evaluation(
        self,
        model: SceneModel,
        epoch: int,
        facts: Mapping[str, Any],
        progress: Progress | None = None,
    ) -> None:
        """Evaluate after `epoch` epochs and write the CSVs, the pictures and metrics.json.

        What moves is drawn last: where that is interrupted, metrics.json is there without it.
        `facts` about the run are added to metrics.json; `progress` is called after each frame that
        is evaluated or drawn, and what it raises ends the evaluation. Raises OSError.
        """
        evaluated = self._evaluate(model, epoch, progress)
        metrics = self._metrics(evaluated, epoch, facts) | self._write_picture(model, epoch)
        write_json_atomically(self.output.metrics, metrics)
        numbers = {k: v for k, v in evaluated.summary.items() if v is not None}
        self._log({f"evaluation/{name}": value for name, value in numbers.items()}, epoch)
        print(f"epoch {epoch}: {_comparison(self.initial_summary, evaluated.summary)}", flush=True)
        if self._is_last(epoch):
            metrics |= self._write_moving_pictures(model, epoch, progress)
            write_json_atomically(self.output.metrics, metrics)

    def close(self) -> None:
        """Close the loggers, which write out what they have buffered."""
        for logger in self.loggers:
            logger.close()

    def _evaluate(
        self, model: SceneModel, epoch: int, progress: Progress | None
    ) -> EvaluationResult:
        in_true_poses = self._is_last(epoch) and self.config.train.evaluation.eval_true_poses
        background = self.config.model.background
        evaluated = evaluate(
            model, self.truth, background, in_true_poses=in_true_poses, progress=progress
        )
        write_tables(self.output, epoch, evaluated)
        return evaluated

    def _is_last(self, epoch: int) -> bool:
        return epoch == self.config.train.optimization.epochs

    def _write_picture(self, model: SceneModel, epoch: int) -> dict[str, Any]:
        """Write the comparison picture; return what metrics.json says of it."""
        views = self.truth.reader.views(self.shown)
        rows, shown = {}, []
        for view, before in zip(views, self.initial_renders, strict=True):
            after = shown_render(model, view, self.config)
            label = self._label(view, after.psnr, before.psnr)
            rows[label] = [tile(to_pil_image(view.image)), before.tile, after.tile]
            numbers = {"psnr": after.psnr, "before_psnr": before.psnr}
            shown.append({"camera": view.camera_id, "frame": view.frame} | numbers)
        path = self.output.evaluation("comparison", epoch, "png")
        titles = ("target", "before training", f"after {epoch} epochs")
        write_image_grid(path, titles, rows)
        return {"picture": str(path.relative_to(self.output.root)), "picture_views": shown}

    def _label(self, view: View, after: float | None, before: float | None) -> str:
        use = "source camera" if view.camera_id == self.cameras.source else "held out"
        return ", ".join(
            [
                f"camera {view.camera_id}",
                use,
                f"frame {view.frame}",
                *([f"PSNR {after:.1f} dB"] if after is not None else []),
                *([f"before {before:.1f} dB"] if before is not None else []),
            ]
        )

    def _metrics(
        self, evaluated: EvaluationResult, epoch: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the content of metrics.json but for the pictures."""
        config = self.config
        return {
            "scene": config.shared.scene_name,
            "exp_name": config.shared.exp_name,
            "epoch": epoch,
            "epochs": config.train.optimization.epochs,
            "seed": config.seed,
            **facts,
            **evaluated_metrics(evaluated, self.truth),
            "before": self.initial_summary,
            "source_camera": self.cameras.source,
            "held_out_cameras": list(self.cameras.held_out),
            "novel_views": {
                "source": config.train.nv_generation.trn_nv_gen.source,
                "cameras": list(self.cameras.novel),
            },
            **({"refiner_tuned_on": self.refiner_tuned_on} if self.refiner_tuned_on else {}),
        }

    def _write_moving_pictures(
        self, model: SceneModel, epoch: int, progress: Progress | None
    ) -> dict[str, Any]:
        """Write the videos and animations that are wanted; return what metrics.json says."""
        settings, background = self.config.train.evaluation, self.config.model.background
        for camera in self.truth.evaluated.cameras if settings.eval_videos else ():
            path = self.output.evaluation(f"video_camera_{camera}", epoch, "webp")
            write_camera_video(path, model, self.truth, camera, background, progress=progress)
        if not settings.eval_animation_frames:
            return {}
        animations = write_animations(
            self.output,
            epoch,
            model,
            self.source_camera,
            settings=self.config.train.nv_generation.trn_nv_gen.runtime_camera,
            frames=settings.eval_animation_frames,
            background=background,
            progress=progress,
        )
        return {"animations": animations}

    def _log(self, numbers: Mapping[str, float], epoch: int) -> None:
        for logger in self.loggers:
            logger.log(numbers, epoch)


def write_tables(output: OutputFolder, epoch: int, evaluated: EvaluationResult) -> None:
    """Write the rows of views, people and poses as CSV, those that there are; raises OSError."""
    tables = {"images": evaluated.images, "people": evaluated.people, "poses": evaluated.poses}
    for kind, rows in tables.items():
        if rows:
            write_csv(output.evaluation(kind, epoch, "csv"), rows)


def evaluated_metrics(evaluated: EvaluationResult, truth: GroundTruth) -> dict[str, Any]:
    """Return what metrics.json says of an evaluation: means, of what, and why one is missing."""
    views, frames = truth.evaluated, truth.reader.frames
    return {
        **evaluated.summary,
        **truth.missing_reasons,
        "people": evaluated.by_person,
        "evaluated_cameras": list(views.cameras),
        "evaluated_frames": [frames[index] for index in views.indices],
        "pose_alignment": ALIGNMENT,
    }


def shown_render(model: SceneModel, view: View, config: Config) -> ShownRender:
    """Render a view for the picture, and compare it with the target."""
    image = rendered_image(model, view, config.model.background)
    factor = config.train.evaluation.nvs_eval.downscale_factor
    return ShownRender(tile(to_pil_image(image)), view_psnr(image, view, factor))


@torch.no_grad()
def write_camera_video(
    path: Path,
    model: SceneModel,
    truth: GroundTruth,
    camera: int,
    background: float,
    *,
    progress: Progress | None = None,
) -> None:
    """Write target | render of a camera over evaluated frames; raises OSError.

    At most VIDEO_FRAMES of them, evenly spread. `progress` is called after each, and what it raises
    ends the video.
    """
    indices = evenly_spread(truth.evaluated.indices, VIDEO_FRAMES)

    def frames() -> Iterator[Sequence[Tensor]]:
        for done, index in enumerate(indices, 1):
            view = truth.reader.view(camera, index)
            yield view.image, rendered_image(model, view, background)
            if progress:
                progress(done, len(indices))

    write_video(path, frames())


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in numbers.items()}


def _comparison(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> str:
    """Return the line that people read after an evaluation: the main metrics, now and before."""
    shown = {"psnr": "PSNR {:.2f} dB", "mpjpe_mm": "pose error {:.1f} mm"}
    parts = [
        f"{text.format(after[name])} (before training {before[name]:.{1 if 'mm' in name else 2}f})"
        for name, text in shown.items()
        if after.get(name) is not None and before.get(name) is not None
    ]
    return ", ".join(parts) or "nothing to compare with: the scene has no truth"
