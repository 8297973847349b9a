"""The training loop: poses first, then Gaussians, with evaluations and checkpoints in between.

Read `train` first: it is the whole loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.trainer.cameras.camera import PixelBox
from training.trainer.cameras.view import StoredView, View
from training.trainer.cameras.views import ViewReader, load_ahead
from training.trainer.checkpoints import (
    forget_previous,
    load_checkpoint,
    refuse_other_data,
    save_checkpoint,
)
from training.trainer.config.schema import Config
from training.trainer.evaluation.run_reports import RunReports
from training.trainer.gaussians.densification import Densification, Seen
from training.trainer.gaussians.model import PosedGaussians, SceneModel
from training.trainer.gaussians.render import covered_box, render
from training.trainer.gaussians.visibility import color_hidden_gaussians
from training.trainer.losses import (
    SSIM_WINDOW,
    add_terms,
    color_loss,
    gaussian_prior,
    pose_prior,
    shape_loss,
    total,
)
from training.trainer.novel_views import NovelViews
from training.trainer.optimizers import Optimizers
from training.trainer.output_files import OutputFolder
from training.trainer.termination import SignalRequests, Terminated, TrainingError

Losses = dict[str, float]
"""The weighted terms of a step's loss, by their names in `train.optimization.loss`."""
MOST_VIEWS = 60
"""Enough to see everyone from each camera in all poses of a video; each costs an iteration."""


@dataclass
class Position:
    """How far training is: whole epochs, steps of the next epoch and the sums of their losses.

    `term_sums` are those of the terms, by their names in `train.optimization.loss`. Its fields are
    keys of the checkpoint.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    term_sums: dict[str, float] = field(default_factory=dict)
    iterations: int = 0
    novel_views_made: bool = False
    seconds: float = 0.0

    def add(self, terms: Mapping[str, float]) -> None:
        """Count a step whose loss had these terms."""
        self.loss_sum += sum(terms.values())
        for name, value in terms.items():
            self.term_sums[name] = self.term_sums.get(name, 0.0) + value
        self.step += 1
        self.iterations += 1

    def mean_losses(self) -> dict[str, float]:
        """Return the mean over this epoch's steps of the loss, and of each term as `loss_rgb`."""
        sums = {"loss": self.loss_sum}
        sums |= {f"loss_{name}": value for name, value in self.term_sums.items()}
        return {name: value / max(self.step, 1) for name, value in sums.items()}


@dataclass
class TrainingRun:
    """Everything that training one scene works on.

    `smooth` says of each frame whether its poses have neighbours to be smooth with.
    """

    config: Config
    model: SceneModel
    optimizers: Optimizers
    source: ViewReader
    source_id: int
    smooth: Sequence[bool]
    novel: NovelViews
    reports: RunReports
    requests: SignalRequests
    output: OutputFolder
    identity: dict[str, Any]
    densification: Densification | None = None
    position: Position = field(default_factory=Position)
    clock: float = field(default_factory=time.monotonic)

    def elapsed_seconds(self) -> float:
        """Update and return the seconds spent on this run, earlier attempts included."""
        now = time.monotonic()
        self.position.seconds += now - self.clock
        self.clock = now
        return self.position.seconds

    def iteration_of_second_stage(self) -> int:
        """Return the number of the current iteration, counted from 0 when the stage began."""
        epochs = self.position.epoch - self.config.pose_epochs
        return epochs * len(self.source.frames) + self.position.step


def train(run: TrainingRun) -> None:
    """Train from the run's position to the last epoch.

    Raises Terminated after SIGTERM, TrainingError, SceneDataError, OSError.
    """
    settings, position = run.config.train, run.position
    epochs = settings.optimization.epochs
    for epoch in range(position.epoch, epochs):
        if epoch and position.step == 0 and epoch % settings.evaluation.eval_every_epoch == 0:
            _evaluate(run)
        started = time.monotonic()
        if epoch >= run.config.nv_gen_epoch:
            made, progress = position.novel_views_made, partial(_handle_signals, run)
            run.novel.make_or_load(run.model, made=made, progress=progress)
            position.novel_views_made = True
        if position.step == 0 and epoch in _epochs_that_reveal_gaussians(run):
            color_hidden_gaussians(run.model, views_of_all(run))
        stage = "poses" if epoch < run.config.pose_epochs else "gaussians"
        _train_epoch(run, epoch, stage)
        run.reports.report_epoch(epoch + 1, stage, position.mean_losses(), started)
        position.epoch, position.step = epoch + 1, 0
        position.loss_sum, position.term_sums = 0.0, {}
        last = position.epoch == epochs
        if last or position.epoch % settings.optimization.checkpoint_every_epoch == 0:
            save(run)
    _evaluate(run)  # also where all epochs were trained before: outputs may be missing
    forget_previous(run.output.checkpoint)


def _evaluate(run: TrainingRun) -> None:
    """Evaluate between two epochs and report; raises Terminated after SIGTERM, OSError."""
    progress = partial(_handle_signals, run)
    run.reports.report_evaluation(run.model, run.position.epoch, run_facts(run), progress)


def fit_pose(run: TrainingRun, views: list[StoredView], fraction: float) -> Losses:
    """Take a step of the first stage: move one frame's poses towards its silhouettes and depth.

    `views` are of one frame; learning rates are multiplied by `fraction`. Returns the
    terms of the loss.
    """
    weights = run.config.train.optimization.loss
    index = views[0].index
    gaussians = run.model.gaussians_at(index)
    terms = pose_prior(run.model, index, weights, smooth=run.smooth[index])
    for view, weight in _weighted_views(run, views, gaussians):
        rendered = render(gaussians, view.camera, run.config.model.background)
        add_terms(terms, shape_loss(rendered, view, weights), weight)
    torch.autograd.backward(total(terms))
    run.optimizers.step(poses=True, gaussians=False, fraction=fraction)
    return _values(terms)


def fit_all(run: TrainingRun, views: list[StoredView], fraction: float) -> Losses:
    """Take a step of the second stage: move the Gaussians towards everything that one frame shows.

    The poses move too, unless configured otherwise. Arguments and result as for `fit_pose`.
    """
    optimization = run.config.train.optimization
    weights = optimization.loss
    index = views[0].index
    gaussians = run.model.gaussians_at(index)
    terms = pose_prior(run.model, index, weights, smooth=run.smooth[index])
    terms |= gaussian_prior(run.model, weights)
    seen: list[Seen] = []
    weighted = _weighted_views(run, views, gaussians)
    for stored, (view, weight) in zip(views, weighted, strict=True):
        shifts = run.densification.new_shifts(gaussians) if run.densification else None
        seen += [] if shifts is None else [Seen(view.camera, stored.camera, shifts)]
        rendered = render(gaussians, view.camera, run.config.model.background, shifts=shifts)
        color = color_loss(rendered, view, weights, edges=run.novel.captured)
        add_terms(terms, color | shape_loss(rendered, view, weights), weight)
    torch.autograd.backward(total(terms))
    poses = optimization.tune_poses_with_gaussians
    run.optimizers.step(poses=poses, gaussians=True, fraction=fraction)
    if run.densification:
        optimizer = run.optimizers.gaussians
        iteration = run.iteration_of_second_stage()
        run.densification.step(run.model.gaussians, optimizer, iteration, gaussians, seen)
    return _values(terms)


def _values(terms: Mapping[str, Tensor]) -> Losses:
    """Return the terms as numbers, fetched from the device at once."""
    values = torch.stack([term.detach() for term in terms.values()]).tolist()
    return dict(zip(terms, values, strict=True))


def views_of_all(run: TrainingRun) -> Iterator[View]:
    """Yield training views of everyone from all sides: MOST_VIEWS at most, cut to the people.

    These are all training views or, of long videos, those of evenly spaced frames.
    """
    readers = [(run.source, run.source_id)]
    if run.novel.reader is not None:
        readers += [(run.novel.reader, camera) for camera in run.novel.ids]
    frames = len(run.source.frames)
    step = math.ceil(frames * len(readers) / MOST_VIEWS)
    tasks = (
        partial(reader.stored, camera, index)
        for index in range(0, frames, step)
        for reader, camera in readers
    )
    for stored in load_ahead(tasks, run.source.threads):
        box = stored.people.grown(1).intersection(stored.camera.image_box)
        if stored.people.width:
            yield stored.view(run.source.background, run.source.device, box)


STAGES: dict[str, Callable[[TrainingRun, list[StoredView], float], Losses]] = {
    "poses": fit_pose,
    "gaussians": fit_all,
}
"""The step function of each stage, by its name in progress lines."""


def _epochs_that_reveal_gaussians(run: TrainingRun) -> set[int]:
    """Return the epochs that begin with Gaussians seen for the first time.

    These are the first of the second stage, and the first with novel views.
    """
    begin = run.config.pose_epochs
    return {begin, max(begin, run.config.nv_gen_epoch)} if run.novel.ids else {begin}


def _train_epoch(run: TrainingRun, epoch: int, stage: str) -> None:
    """Take one step per frame, from the run's position in this epoch on; raises TrainingError."""
    position, optimization = run.position, run.config.train.optimization
    steps = len(run.source.frames)
    order, choices = _epoch_order(run.config.seed, epoch, steps)
    remaining = range(position.step, steps)
    tasks = (partial(_step_views, run, order[step], choices[step]) for step in remaining)
    with closing(load_ahead(tasks, run.source.threads)) as loaded:
        for step in remaining:
            if run.optimizers.frames == 0:  # a checkpoint holds no half batch
                _handle_signals(run)
            done = (epoch * steps + step) / (optimization.epochs * steps)
            fraction = optimization.learning_rate.final_fraction**done
            terms = STAGES[stage](run, next(loaded), fraction)
            loss = sum(terms.values())
            if not math.isfinite(loss):
                frame = run.source.frames[order[step]]
                what = f"the loss became {loss} in epoch {epoch + 1} at frame {frame}"
                raise TrainingError(f"{what}: lower train.optimization.learning_rate.*")
            position.add(terms)
        run.optimizers.finish_batch()


def _step_views(run: TrainingRun, index: int, choice: float) -> list[StoredView]:
    """Return the source view of a frame and one of its novel views, where there are any."""
    views = [run.source.stored(run.source_id, index)]
    if run.novel.reader is not None:
        camera = run.novel.ids[int(choice * len(run.novel.ids))]
        views.append(run.novel.reader.stored(camera, index))
    return views


def _weighted_views(
    run: TrainingRun, views: list[StoredView], gaussians: PosedGaussians
) -> Iterator[tuple[View, float]]:
    """Yield what is compared with renders of `gaussians`, and the weight of its loss."""
    for stored in views:
        source = stored.camera_id == run.source_id
        view = stored.view(run.source.background, run.source.device, _crop(run, stored, gaussians))
        yield view, 1.0 if source else run.novel.settings.weight


def _crop(run: TrainingRun, stored: StoredView, gaussians: PosedGaussians) -> PixelBox | None:
    """Return the part of a view that shows people or Gaussians; None for the whole image."""
    optimization = run.config.train.optimization
    if not optimization.use_bbox_crop:
        return None
    box = stored.people.union(covered_box(gaussians, stored.camera.to(run.source.device)))
    # Every window of SSIM that a person reaches into is inside.
    pad = max(optimization.bbox_pad, SSIM_WINDOW)
    return box.grown(pad).intersection(stored.camera.image_box) if box.width else None


def _epoch_order(seed: int, epoch: int, steps: int) -> tuple[list[int], list[float]]:
    """Return frame order and camera choices (0 to 1) of an epoch, from seed and epoch alone.

    So a resumed run needs no state of a random generator.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: Tensor = torch.randperm(steps, generator=generator)
    return order.tolist(), torch.rand(steps, generator=generator).tolist()


def _handle_signals(run: TrainingRun, *_progress: object) -> None:
    """Save where a signal asked for it; raises Terminated where one asked to stop."""
    if run.requests.save:
        save(run)
        run.requests.save = False
        print(
            f"checkpoint written at epoch {run.position.epoch}, step {run.position.step}",
            flush=True,
        )
    if run.requests.stop:
        raise Terminated


def save(run: TrainingRun) -> None:
    """Write the checkpoint; raises OSError, the previous one is then intact."""
    run.elapsed_seconds()
    state = {
        "position": asdict(run.position),
        "model": run.model.state_dict(),
        "optimizers": run.optimizers.state_dict(),
        "before": run.reports.initial_summary,
        "evaluated": _what_is_evaluated(run),
    }
    if run.densification:
        state["densification"] = run.densification.state_dict()
    save_checkpoint(run.output.checkpoint, state, run.identity)


def resume(run: TrainingRun) -> bool:
    """Continue from the checkpoint if there is one; return whether there was.

    Where evaluations are of other views now, the model before training is evaluated again: its
    numbers stand beside those of the trained one. Raises FaultsError when another configuration or
    other data made the checkpoint, OSError.
    """
    state = load_checkpoint(run.output.checkpoint, run.identity)
    if state is None:
        return False
    refuse_other_data(run.output.checkpoint, state["model"], run.model.state_dict())
    if state.get("evaluated") == _what_is_evaluated(run):
        run.reports.initial_summary = state["before"]
    else:
        run.reports.evaluate_initial(run.model, run.requests.stop_if_asked)
    run.position = Position(**state["position"])
    run.model.load_state_dict(state["model"])
    run.optimizers.load_state_dict(state["optimizers"])
    if run.densification:
        run.densification.load_state_dict(state["densification"], run.source.device)
    return True


def _what_is_evaluated(run: TrainingRun) -> dict[str, Any]:
    """Return the settings that decide what the numbers of an evaluation mean."""
    shown = {"eval_every_epoch", "eval_videos", "eval_animation_frames"}
    return run.config.train.evaluation.model_dump(exclude=shown)


def run_facts(run: TrainingRun) -> dict[str, Any]:
    """Return what metrics.json says of the run itself."""
    return {
        "iterations": run.position.iterations,
        "device": str(run.source.device),
        "gaussians": len(run.model.gaussians.person),
        "seconds": round(run.elapsed_seconds(), 1),
    }
