"""What a run tells the world: evaluations as files, progress as lines, numbers to trackers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from training.trainer.cameras.camera_ids import CameraIds
from training.trainer.cameras.views import View
from training.trainer.config.schema import Config
from training.trainer.evaluation.evaluate import (
    Evaluated,
    Truth,
    evaluate,
    rendered_images,
    write_rows,
)
from training.trainer.evaluation.pictures import Row, write_comparison
from training.trainer.experiment_loggers import Tracker, report_progress
from training.trainer.gaussians.model import SceneModel
from training.trainer.output_files import OutputFolder, write_json


@dataclass
class Reports:
    """Evaluates and reports for one run.

    `before` is the summary of the evaluation before training, `first_images` what the model drew
    of `shown` then.
    """

    config: Config
    output: OutputFolder
    truth: Truth
    cameras: CameraIds
    shown: Sequence[View]
    first_images: Sequence[Tensor]
    trackers: Sequence[Tracker] = ()
    before: dict[str, float | None] = field(default_factory=dict)

    def start(self, model: SceneModel) -> None:
        """Evaluate the model before any training."""
        self.before = self._evaluate(model, epoch=0).summary

    def epoch(self, epoch: int, stage: str, loss: float, started: float) -> None:
        """Report the end of an epoch (the first is 1)."""
        numbers = {"loss": loss, "seconds": time.monotonic() - started}
        epochs = self.config.train.optimization.epochs
        report_progress({"epoch": epoch, "epochs": epochs, "stage": stage} | _rounded(numbers))
        self._track({f"train/{name}": value for name, value in numbers.items()}, epoch)

    def evaluation(self, model: SceneModel, epoch: int, facts: Mapping[str, Any]) -> None:
        """Evaluate after `epoch` epochs; write the CSVs, the picture and metrics.json."""
        evaluated = self._evaluate(model, epoch)
        picture = self._picture(model, epoch)
        write_json(self.output.metrics, self._metrics(evaluated, picture, epoch, facts))
        numbers = {k: v for k, v in evaluated.summary.items() if v is not None}
        self._track({f"evaluation/{name}": value for name, value in numbers.items()}, epoch)
        print(f"epoch {epoch}: {_sentence(self.before, evaluated.summary)}", flush=True)

    def close(self) -> None:
        """Have trackers write what they hold back."""
        for tracker in self.trackers:
            tracker.close()

    def _evaluate(self, model: SceneModel, epoch: int) -> Evaluated:
        evaluated = evaluate(model, self.truth, self.config.model.background)
        for kind, rows in (("images", evaluated.images), ("poses", evaluated.poses)):
            if rows:
                write_rows(self.output.evaluation(kind, epoch, "csv"), rows)
        return evaluated

    def _picture(self, model: SceneModel, epoch: int) -> str:
        images = rendered_images(model, self.shown, self.config.model.background)
        rows = [
            Row(self._label(view), view.image, before, after)
            for view, before, after in zip(self.shown, self.first_images, images, strict=True)
        ]
        path = self.output.evaluation("comparison", epoch, "png")
        write_comparison(path, rows, epoch)
        return str(path.relative_to(self.output.root))

    def _label(self, view: View) -> str:
        held_out = view.camera_id in self.cameras.held_out
        use = "held out" if held_out else "source: there is no held-out camera"
        return f"camera {view.camera_id} ({use}), frame {view.frame}"

    def _metrics(
        self, evaluated: Evaluated, picture: str, epoch: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        config = self.config
        return {
            "scene": config.shared.scene_name,
            "exp_name": config.shared.exp_name,
            "epoch": epoch,
            "epochs": config.train.optimization.epochs,
            "seed": config.seed,
            **facts,
            **evaluated.summary,
            **self.truth.reasons,
            "before": self.before,
            "source_camera": self.cameras.source,
            "held_out_cameras": list(self.cameras.held_out),
            "novel_views": {
                "source": config.train.nv_generation.trn_nv_gen.source,
                "cameras": list(self.cameras.novel),
            },
            "picture": picture,
        }

    def _track(self, numbers: Mapping[str, float], epoch: int) -> None:
        for tracker in self.trackers:
            tracker.log(numbers, epoch)


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in numbers.items()}


def _sentence(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> str:
    shown = {"psnr": "PSNR {:.2f} dB", "mpjpe_mm": "pose error {:.1f} mm"}
    parts = [
        f"{text.format(after[name])} (before training {before[name]:.{1 if 'mm' in name else 2}f})"
        for name, text in shown.items()
        if after.get(name) is not None and before.get(name) is not None
    ]
    return ", ".join(parts) or "nothing to compare with: the scene has no truth"
