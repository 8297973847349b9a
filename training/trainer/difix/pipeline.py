"""Make the samples of a scene: read true images ahead, render and write several at once.

Rendering takes most of the time and uses one thread a sample, so a few workers do everything, with
bounded queues in between. Decisions are made in one place and in order: the result does not depend
on the number of workers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Literal, NamedTuple

import torch

from preprocess.run_ahead import run_ahead
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.views import camera_of
from training.trainer.config.schema import DifixDataGeneration
from training.trainer.difix.generation_checks import GenerationInputs
from training.trainer.difix.sample_names import sample_id
from training.trainer.difix.shard import Dropped, Sample, ShardFolder
from training.trainer.difix.true_views import (
    Target,
    TrueImage,
    Unusable,
    encode_image,
    read_target,
    read_true_image,
    resized_content,
)
from training.trainer.evaluation.pictures import to_uint8
from training.trainer.gaussians.model import PosedGaussians, SceneModel
from training.trainer.gaussians.render import render

MAX_WORKERS = 8
Views = tuple[Target, TrueImage]


@dataclass(frozen=True)
class SampleRequest:
    """One sample that is wanted; it is dropped when its images can't be used."""

    sample_id: str
    camera: int
    frame: int


class ReadResult(NamedTuple):
    """What was read for a sample: both views, why there are none, or None when it exists."""

    wanted: SampleRequest
    found: Views | Unusable | None


@dataclass
class Renderer:
    """Renders the model for target cameras; poses it once per frame."""

    model: SceneModel
    background: float
    device: torch.device
    _index: int | None = None
    _posed: PosedGaussians | None = None
    # One GPU draws one view at a time.
    _turn: Lock = field(default_factory=Lock)

    def posed_at(self, index: int) -> PosedGaussians:
        """Return everyone's Gaussians at a frame index; the latest are kept."""
        if self._index != index or self._posed is None:
            with torch.inference_mode():
                self._posed, self._index = self.model.gaussians_at(index), index
        return self._posed

    def render_png(self, posed: PosedGaussians, target: Target) -> bytes:
        """Return what the target camera sees as the content of a PNG file."""
        height, width = target.image.pixels.shape[:2]
        camera = camera_of(target.camera, width, height).to(self.device)
        return encode_image(to_uint8(self._image(posed, camera)), ".png")

    def _image(self, posed: PosedGaussians, camera: Camera) -> torch.Tensor:
        with torch.inference_mode():
            if self.device.type == "cpu":
                return render(posed, camera, self.background).image
            with self._turn:
                return render(posed, camera, self.background).image.cpu()


@dataclass
class Pipeline:
    """Makes the samples of one scene; `dropped` grows while they are made."""

    inputs: GenerationInputs
    settings: DifixDataGeneration
    renderer: Renderer
    folder: ShardFolder
    digest: str
    dropped: list[Dropped] = field(default_factory=list)

    def samples(self, whole: Mapping[str, Sample]) -> Iterator[Sample]:
        """Yield every sample in order of frame and camera; those in `whole` are not made again.

        Raises SceneDataError, OSError.
        """
        workers = worker_count(self.settings.workers)
        with _worker_pool(workers) as pool:
            read = run_ahead(pool, self._reading(pool, whole), 2 * workers)
            yield from run_ahead(pool, self._making(read, whole), 2 * workers)

    def _reading(
        self, pool: ThreadPoolExecutor, whole: Mapping[str, Sample]
    ) -> Iterator[Callable[[], ReadResult]]:
        """Yield one reading task per sample, in order; a frame's reference image is read once."""
        for frame in self.inputs.frames:
            wanted = [self._wanted(camera, frame) for camera in self.inputs.targets]
            if frame not in self.inputs.trained_frames:
                yield from (partial(ReadResult, each, Unusable("skip frame")) for each in wanted)
                continue
            missing = [each for each in wanted if each.sample_id not in whole]
            reference = pool.submit(self._reference, frame) if missing else None
            for each in wanted:
                if reference is None or each.sample_id in whole:
                    yield partial(ReadResult, each, None)
                else:
                    yield partial(self._read, each, reference)

    def _making(
        self, read: Iterable[ReadResult], whole: Mapping[str, Sample]
    ) -> Iterator[Callable[[], Sample]]:
        """Decide, in order, which requests become samples; yield one making task for each."""
        most = self.settings.max_samples_per_camera or sys.maxsize
        taken = dict.fromkeys(self.inputs.targets, 0)
        for wanted, found in read:
            if min(taken.values()) >= most:
                return
            if taken[wanted.camera] >= most:
                continue
            if isinstance(found, Unusable):
                self._drop(wanted, found)
                continue
            taken[wanted.camera] += 1
            if found is None:
                yield partial(whole.__getitem__, wanted.sample_id)
            else:
                posed = self.renderer.posed_at(self.inputs.trained_frames.index(wanted.frame))
                yield partial(self.make_sample, wanted, found, posed)

    def make_sample(self, wanted: SampleRequest, found: Views, posed: PosedGaussians) -> Sample:
        """Render and write one sample; raises OSError."""
        (target, reference), group = found, self.inputs.group
        height, width = target.image.pixels.shape[:2]
        contents = (
            self.renderer.render_png(posed, target),
            target.image.content,
            resized_content(reference, width, height),
        )
        sample = Sample(
            sample_id=wanted.sample_id,
            scene=self.inputs.scene.seq_name,
            dataset=group.dataset,
            group=group.name,
            target_camera=wanted.camera,
            ref_camera=self.inputs.scene.cam_id,
            target_frame=wanted.frame,
            ref_frame=wanted.frame,
            width=width,
            height=height,
            mask_coverage=round(target.image.coverage, 6),
            image="image.png",
            target_image=f"target_image{target.image.suffix}",
            ref_image=f"ref_image{reference.suffix}",
            sizes=(len(contents[0]), len(contents[1]), len(contents[2])),
        )
        self.folder.write_sample(sample, contents, self.digest)
        return sample

    def _read(self, wanted: SampleRequest, reference: Future[TrueImage | Unusable]) -> ReadResult:
        true = reference.result()
        if isinstance(true, Unusable):
            return ReadResult(wanted, true)
        at = (wanted.camera, wanted.frame)
        least = self.settings.min_mask_coverage
        target = read_target(self.inputs.truth, *at, self.renderer.background, least)
        return ReadResult(wanted, target if isinstance(target, Unusable) else (target, true))

    def _reference(self, frame: int) -> TrueImage | Unusable:
        source = self.inputs.scene.cam_id
        background = self.renderer.background
        return read_true_image(self.inputs.data, source, frame, background, "reference")

    def _wanted(self, camera: int, frame: int) -> SampleRequest:
        scene = self.inputs.scene
        return SampleRequest(sample_id(scene.seq_name, camera, scene.cam_id, frame), camera, frame)

    def _drop(self, wanted: SampleRequest, why: Unusable) -> None:
        self.dropped.append(
            Dropped(
                sample_id=wanted.sample_id,
                target_camera=wanted.camera,
                frame=wanted.frame,
                reason=why.reason,
                detail=why.detail,
            )
        )


def worker_count(wanted: int | Literal["auto"]) -> int:
    """Return how many samples are made at once."""
    if wanted != "auto":
        return wanted
    given = os.environ.get("SLURM_CPUS_PER_TASK")
    return min(int(given) if given else len(os.sched_getaffinity(0)), MAX_WORKERS)


@contextmanager
def _worker_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that render with one core each; after an error no waiting task is started."""
    # The number of threads is torch's per thread, and results must not depend on it.
    pool = ThreadPoolExecutor(workers, "sample", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
