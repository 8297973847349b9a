"""Measure the samples per second of DiFix generation, beside a loop that renders, then writes.

`python benchmarks/difix_generation.py` builds a synthetic scene and makes all its samples in both
ways, interleaved, in one process: same model, same reading, same encoding, same files. The loop
goes camera by camera and frame by frame, each sample from beginning to end, with one core or, in
the second line, with torch using all cores. Aim: at least 1.5 times the loop's rate on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

import torch  # noqa: E402

from preprocess.registry import load_scenes  # noqa: E402
from preprocess.synthetic.build import ensure_scene_data  # noqa: E402
from training.trainer.config.compose import load_config  # noqa: E402
from training.trainer.config.schema import Config  # noqa: E402
from training.trainer.difix.generate import make_samples  # noqa: E402
from training.trainer.difix.generation_checks import GenerationInputs, check_generation  # noqa: E402
from training.trainer.difix.pipeline import Pipeline, Renderer, SampleRequest  # noqa: E402
from training.trainer.difix.shard import ShardFolder  # noqa: E402
from training.trainer.difix.trained_model import load_model  # noqa: E402
from training.trainer.difix.true_views import Unusable, read_target, read_true_image  # noqa: E402
from training.trainer.gaussians.model import SceneModel  # noqa: E402
from training.trainer.termination import SignalRequests  # noqa: E402

NAME = "synthetic_pair01_wave"
AIM = 1.5


def main() -> None:
    """Measure and print the rates and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=192, help="pixels a side")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        config, inputs = build_scene(Path(folder), given.size, given.frames)
        model, _ = load_model(config, inputs, torch.device("cpu"))
        contenders: dict[str, Callable[[ShardFolder], int]] = {
            "loop, one core": partial(one_by_one, config, inputs, model, 1),
            f"loop, torch on {cores} cores": partial(one_by_one, config, inputs, model, cores),
            "generation": partial(generation, config, inputs, model),
        }
        rates, cpu = measure(contenders, Path(folder), given.rounds)
    for name in contenders:
        print(f"{name:24} {rates[name]:6.2f} samples/s, {cpu[name] * 1000:4.0f} CPU ms a sample")
    for name in list(contenders)[:2]:
        print(f"generation / {name}: {rates['generation'] / rates[name]:.2f}")
    print(f"aim: at least {AIM} on 2 cores; load average {os.getloadavg()[0]:.1f} on {cores} cores")


def build_scene(root: Path, size: int, frames: int) -> tuple[Config, GenerationInputs]:
    """Build a synthetic scene; return its configuration and what generation reads."""
    registry = root / "registry"
    registry.mkdir()
    recipe = {"action": "wave", "people": ["ada", "ben"], "frames": frames, "image_size": size}
    content = {"seq_name": NAME, "cam_id": 28, "raw_gt_dir_path": f"truth/{NAME}"}
    file = registry / f"{NAME}.json"
    file.write_text(json.dumps({**content, "synthetic": recipe}), encoding="utf-8")
    ensure_scene_data(load_scenes(registry), root / "scenes")
    names = {"scene_name": NAME, "exp_name": "bench", "scene_file": file}
    folders = {"scene_data_root": root / "scenes", "results_root": root / "results"}
    arguments = [f"shared.{key}={value}" for key, value in {**names, **folders}.items()]
    config = load_config([*arguments, "run_mode=difix_data_generation_generate"])
    return config, check_generation(config)


def one_by_one(
    config: Config, inputs: GenerationInputs, model: SceneModel, threads: int, folder: ShardFolder
) -> int:
    """Make every sample from beginning to end before the next one; return how many."""
    torch.set_num_threads(threads)
    count = 0
    for camera in inputs.targets:
        for index, frame in enumerate(inputs.trained_frames):
            renderer = Renderer(model, config.model.background, torch.device("cpu"))
            pipeline = Pipeline(inputs, config.difix_data_generation, renderer, folder, "")
            reference = read_true_image(inputs.data, inputs.scene.cam_id, frame, 1.0, "reference")
            target = read_target(inputs.truth, camera, frame, 1.0, 0.0)
            if isinstance(reference, Unusable) or isinstance(target, Unusable):
                sys.exit(f"camera {camera}, frame {frame} can't be used: {target}, {reference}")
            request = SampleRequest(f"sample_{count}", camera, frame)
            pipeline.make_sample(request, (target, reference), renderer.posed_at(index))
            count += 1
    torch.set_num_threads(1)
    return count


def generation(
    config: Config, inputs: GenerationInputs, model: SceneModel, folder: ShardFolder
) -> int:
    """Make the samples as the trainer does; return how many."""
    renderer = Renderer(model, config.model.background, torch.device("cpu"))
    pipeline = Pipeline(inputs, config.difix_data_generation, renderer, folder, "")
    return len(make_samples(pipeline, {}, SignalRequests()))


def measure(
    contenders: dict[str, Callable[[ShardFolder], int]], root: Path, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each contender's median samples per second and CPU seconds per sample."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for place, (name, make) in enumerate(contenders.items()):
            wall, used = time.monotonic(), cpu_seconds()
            count = make(ShardFolder(root / f"made_{number}_{place}"))
            rates[name].append(count / (time.monotonic() - wall))
            cpu[name].append((cpu_seconds() - used) / count)
    medians = statistics.median
    return (
        {name: medians(values) for name, values in rates.items()},
        {name: medians(values) for name, values in cpu.items()},
    )


def cpu_seconds() -> float:
    """Return user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
