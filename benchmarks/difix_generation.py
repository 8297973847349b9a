"""The samples per second of DiFix generation, beside a loop that renders, then writes.

Both make all samples of a synthetic scene in one process: same model, same reading, same encoding,
same files. The loop goes camera by camera and frame by frame, each sample from beginning to end,
with one core or with torch using all cores.
"""

from __future__ import annotations

import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.subject import Aim, Measure, Role, Row, Size, Subject, UnavailableError, ratio
from benchmarks.synthetic_scene import build_scene

if TYPE_CHECKING:
    from training.trainer.config.schema import Config
    from training.trainer.difix.generation_checks import GenerationInputs
    from training.trainer.difix.shard import ShardFolder
    from training.trainer.gaussians.model import SceneModel

PIXELS_AND_FRAMES: Mapping[Size, tuple[int, int]] = {
    "quick": (96, 2),
    "usual": (192, 6),
    "full": (192, 6),
}
RATE = "samples a second"
CORES = len(os.sched_getaffinity(0))
OURS, LOOP, PARALLEL_LOOP = "generation", "loop, one core", f"loop, torch on {CORES} cores"


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Build a scene and load its model; yield the loop and the generation."""
    import torch

    from training.trainer.config.compose import load_config
    from training.trainer.difix.generation_checks import check_generation
    from training.trainer.difix.shard import ShardFolder
    from training.trainer.difix.trained_model import load_model

    pixels, frames = PIXELS_AND_FRAMES[size]
    with tempfile.TemporaryDirectory() as name:
        scene = build_scene(Path(name), pixels, frames)
        mode = ["shared.exp_name=bench", "run_mode=difix_data_generation_generate"]
        mode.append("difix_data_generation.require_checkpoint=false")
        config = load_config([*scene, *mode])
        inputs = check_generation(config)
        model, _ = load_model(config, inputs, torch.device("cpu"))
        made = (Path(name) / f"made_{number}" for number in itertools.count())
        contenders: dict[str, tuple[Role, Callable[[ShardFolder], int]]] = {
            LOOP: ("peer", partial(one_by_one, config, inputs, model, 1)),
            PARALLEL_LOOP: ("peer", partial(one_by_one, config, inputs, model, CORES)),
            OURS: ("ours", partial(generation, config, inputs, model)),
        }
        generation(config, inputs, model, ShardFolder(next(made)))  # loads what is compiled
        yield {
            title: partial(measure, title, role, make, made)
            for title, (role, make) in contenders.items()
        }


def measure(
    title: str, role: Role, make: Callable[[ShardFolder], int], made: Iterator[Path]
) -> list[Row]:
    """Make all samples once; return their rate, and the CPU time of each."""
    from training.trainer.difix.shard import ShardFolder

    wall, used = time.monotonic(), cpu_seconds()
    count = make(ShardFolder(next(made)))
    rate = count / (time.monotonic() - wall)
    each_ms = 1000 * (cpu_seconds() - used) / count
    return [
        Row(RATE, title, (rate,), "1/s", "higher", role),
        Row("CPU a sample", title, (each_ms,), "ms", role=role),
    ]


def one_by_one(
    config: Config, inputs: GenerationInputs, model: SceneModel, threads: int, folder: ShardFolder
) -> int:
    """Make every sample from beginning to end before the next one; return how many."""
    import torch

    from training.trainer.difix.pipeline import Pipeline, Renderer, SampleRequest
    from training.trainer.difix.true_views import Unusable, read_target, read_true_image

    torch.set_num_threads(threads)
    count = 0
    for camera in inputs.targets:
        for index, frame in enumerate(inputs.trained_frames):
            renderer = Renderer(model, config.model.background, torch.device("cpu"))
            pipeline = Pipeline(inputs, config.difix_data_generation, renderer, folder, "")
            reference = read_true_image(inputs.data, inputs.scene.cam_id, frame, 1.0, "reference")
            target = read_target(inputs.truth, camera, frame, 1.0, 0.0)
            if isinstance(reference, Unusable) or isinstance(target, Unusable):
                raise UnavailableError(f"camera {camera}, frame {frame}: {target}, {reference}")
            request = SampleRequest(f"sample_{count}", camera, frame)
            pipeline.make_sample(request, (target, reference), renderer.posed_at(index))
            count += 1
    torch.set_num_threads(1)
    return count


def generation(
    config: Config, inputs: GenerationInputs, model: SceneModel, folder: ShardFolder
) -> int:
    """Make the samples as the trainer does; return how many."""
    import torch

    from training.trainer.difix.generate import make_samples
    from training.trainer.difix.pipeline import Pipeline, Renderer
    from training.trainer.termination import SignalRequests

    renderer = Renderer(model, config.model.background, torch.device("cpu"))
    pipeline = Pipeline(inputs, config.difix_data_generation, renderer, folder, "")
    return len(make_samples(pipeline, {}, SignalRequests()))


def cpu_seconds() -> float:
    """Return user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


SUBJECTS = (
    Subject(
        name="difix_generation",
        title="DiFix generation",
        about=(
            "All samples of a synthetic scene in one process, by the trainer's generation and by a "
            "loop that makes each sample from beginning to end before the next one: same model, "
            "same reading, same encoding, same files."
        ),
        opened=opened,
        variants=(LOOP, PARALLEL_LOOP, OURS),
        why={
            "CPU a sample": "The generation gains by overlapping reading, rendering and encoding "
            "on all cores, not by doing less."
        },
        aims=(
            Aim(
                f"generation on {CORES} cores / loop on one", ratio(RATE, OURS, LOOP), 1.5, "higher"
            ),
        ),
    ),
)
