"""`run_mode=evaluate`: evaluate a trained model alone, on other cameras or frames if wanted.

    <output folder>/standalone_evaluation/{metrics.json, evaluation/…}

What the training wrote is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preprocess.scene_data import body_space, load_genders
from training.configuration.run_modes import EVALUATE
from training.system.atomic_write import write_json_atomically
from training.trainer.cameras.camera_ids import CameraIds, choose_cameras
from training.trainer.cameras.view import View
from training.trainer.config.compose import keep_configuration
from training.trainer.config.schema import Config
from training.trainer.evaluation.evaluate import (
    GroundTruth,
    evaluate,
    in_true_bodies,
)
from training.trainer.evaluation.evaluated_views import (
    SAMPLE_EVERY,
    choose_views,
    config_of_training,
)
from training.trainer.evaluation.experiment_loggers import report_progress
from training.trainer.evaluation.pictures import tile, to_pil_image, write_image_grid
from training.trainer.evaluation.run_reports import (
    ShownRender,
    evaluated_metrics,
    shown_render,
    write_camera_video,
    write_tables,
)
from training.trainer.gaussians.body_files import load_people_bodies
from training.trainer.gaussians.body_parameters import read_body_parameters
from training.trainer.gaussians.model import SceneModel
from training.trainer.input_checks import EvaluationInputs, TrainingInputs, training_frames
from training.trainer.output_files import OutputFolder
from training.trainer.setup import choose_device, open_readers, read_ground_truth, views_to_show
from training.trainer.termination import SignalRequests, TrainingError
from training.trainer.trained_model import read_trained, trained_model


def evaluate_trained(config: Config, inputs: EvaluationInputs, requests: SignalRequests) -> None:
    """Evaluate the scene's checkpoint and write tables, picture and metrics.json.

    Raises FaultsError, SceneDataError, TrainingError, OSError; Terminated after SIGTERM.
    """
    device = choose_device(config.device)
    content = read_trained(config, inputs.scene)
    if content is None:
        raise TrainingError("the checkpoint is gone: train the scene again")
    used = inputs_of_training(config, content["identity"], inputs)
    estimated = read_body_parameters(used.data, used.frames, used.space)
    people = len(estimated.betas)
    genders = load_genders(used.data, used.scene, people)
    body = load_people_bodies(config.model, used.space, genders)
    model = trained_model(config, content, body, estimated, device)
    source, true_views = open_readers(config, used, people, device)
    truth = read_ground_truth(config, used, true_views or source)
    epoch = content["state"]["position"]["epoch"]
    keep_configuration(config)
    _Report(config, model, truth, used.cameras, epoch).write(requests)


def inputs_of_training(
    config: Config, identity: Mapping[str, Any], inputs: EvaluationInputs
) -> TrainingInputs:
    """Return what the training of the checkpoint with this identity read, and what is evaluated.

    Raises FaultsError for cameras and frames that can't be evaluated.
    """
    scene, data, truth = inputs.scene, inputs.data, inputs.truth
    frames = training_frames(data, scene.cam_id, identity.get(SAMPLE_EVERY, 1))
    true_cameras = truth.cameras()
    uses = choose_cameras(config_of_training(config, identity), scene.cam_id, true_cameras)
    evaluated = choose_views(config.train.evaluation, uses, true_cameras, frames)
    return TrainingInputs(scene, data, truth, uses, frames, evaluated, body_space(data))


@dataclass(frozen=True)
class _Report:
    """Writes what one standalone evaluation finds."""

    config: Config
    model: SceneModel
    truth: GroundTruth
    cameras: CameraIds
    epoch: int

    @property
    def output(self) -> OutputFolder:
        return OutputFolder(self.config.output / EVALUATE.output_subdir)

    def write(self, requests: SignalRequests) -> None:
        """Evaluate and write everything, videos last; raises Terminated, OSError."""

        def progress(done: int, of: int) -> None:
            report_progress({"frames": done, "of": of})
            requests.stop_if_asked()

        settings, background = self.config.train.evaluation, self.config.model.background
        in_true_poses = settings.eval_true_poses
        found = evaluate(
            self.model, self.truth, background, in_true_poses=in_true_poses, progress=progress
        )
        write_tables(self.output, self.epoch, found)
        shared = self.config.shared
        metrics = {
            "scene": shared.scene_name,
            "exp_name": shared.exp_name,
            "epoch": self.epoch,
            **evaluated_metrics(found, self.truth),
            "source_camera": self.cameras.source,
            "held_out_cameras": list(self.cameras.held_out),
            "picture": self._write_picture(),
        }
        write_json_atomically(self.output.metrics, metrics)
        print(f"evaluated epoch {self.epoch}: {_sentence(found.summary)}", flush=True)
        for camera in self.truth.evaluated.cameras if settings.eval_videos else ():
            path = self.output.evaluation(f"video_camera_{camera}", self.epoch, "webp")
            write_camera_video(path, self.model, self.truth, camera, background, progress=progress)

    def _write_picture(self) -> str:
        """Write target beside renders in own and true poses; return the path below the output."""
        shown = views_to_show(self.truth.evaluated, self.cameras.source)
        models = {"render": self.model}
        if self.truth.own is not None:
            models["render in true poses"] = in_true_bodies(self.model, self.truth.own)
        rows = {}
        for view in self.truth.reader.views(shown):
            renders = [shown_render(model, view, self.config) for model in models.values()]
            tiles = [tile(to_pil_image(view.image)), *(render.tile for render in renders)]
            rows[_label(view, renders)] = tiles
        path = self.output.evaluation("comparison", self.epoch, "png")
        write_image_grid(path, ("target", *models), rows)
        return str(path.relative_to(self.output.root))


def _label(view: View, renders: Sequence[ShownRender]) -> str:
    endings = ("", " in true poses")
    numbers = [
        f"PSNR {render.psnr:.1f} dB{ending}"
        for render, ending in zip(renders, endings, strict=False)
        if render.psnr is not None
    ]
    return ", ".join([f"camera {view.camera_id}", f"frame {view.frame}", *numbers])


def _sentence(summary: dict[str, float | None]) -> str:
    shown = {"psnr": "PSNR {:.2f} dB", "psnr_true_poses": "{:.2f} dB in true poses"}
    shown["mpjpe_mm"] = "pose error {:.1f} mm"
    found = [text.format(summary[key]) for key, text in shown.items() if summary.get(key)]
    return ", ".join(found) or "the truth has nothing to compare with"
