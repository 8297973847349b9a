"""Measure what merging DiFix shards costs: time and memory of the trainer's aggregate.

`python benchmarks/difix_aggregate.py` writes 1,000 shards of 1,000 samples each (a folder for each
sample, no images: the aggregate opens none), runs `run_mode=difix_data_generation_aggregate` on
them, checks the data set by reading it back, and prints wall and CPU seconds and the peak memory.
Aim: under 60 s and under 500 MB for a million samples on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from training.trainer.config.compose import load_config  # noqa: E402
from training.trainer.difix.sample_names import sample_id  # noqa: E402
from training.trainer.difix.shard import (  # noqa: E402
    Configuration,
    Sample,
    deciding_keys,
    make_shard,
)
from training.trainer.difix.shard_collection import ShardRequirements  # noqa: E402
from training.trainer.scene_groups import group_of  # noqa: E402

AGGREGATE = "run_mode=difix_data_generation_aggregate"
SOURCE, TARGETS = 28, (4, 16, 40, 52, 64, 76, 88)
SECONDS, MEGABYTES = 60, 500


def main() -> None:
    """Measure and print time, memory and size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000, help="of each shard")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["shared.exp_name=bench", f"shared.results_root={folder}", AGGREGATE]
        write_shards(arguments, given.shards, given.samples)
        wall, cpu, megabytes = measured(arguments)
        out = Path(folder) / "_experiments" / "bench" / "difix_data"
        check(out, given.shards * given.samples)
        size = (out / "difix" / "data.json").stat().st_size / 2**20
    print(f"{given.shards * given.samples:,} samples from {given.shards:,} shards")
    print(f"wall {wall:.1f} s, CPU {cpu:.1f} s (aim: under {SECONDS} s for a million)")
    print(f"peak memory {megabytes:.0f} MB (aim: under {MEGABYTES} MB)")
    print(f"data.json {size:.0f} MB")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def write_shards(arguments: list[str], shards: int, samples: int) -> None:
    """Write shards of scenes hi4d_pair00_0000, …, eight scenes per pair."""
    config = load_config(arguments)
    expected = ShardRequirements.of(config)
    keys = deciding_keys(config)
    for number in range(shards):
        scene = f"hi4d_pair{number // 8 % 100:02d}_{number:04d}"
        group = group_of(scene, config.difix_data_generation)
        made = list(synthetic_samples(scene, group.name, samples))
        model = {"source": "initial"}
        configuration = Configuration(keys=keys, scene={"seq_name": scene}, model=model)
        names = {"scene": scene, "dataset": "hi4d", "group": group.name, "exp_name": "bench"}
        folder = expected.folder(scene)
        folder.samples.mkdir(parents=True)
        for sample in made:
            folder.sample(sample.sample_id).mkdir()
        shard = make_shard(configuration, names, made, [])
        folder.shard.write_text(json.dumps(shard.model_dump(mode="json"), indent=2))


def synthetic_samples(scene: str, group: str, count: int) -> Iterable[Sample]:
    """Yield samples as generation would describe them."""
    for number in range(count):
        frame, place = divmod(number, len(TARGETS))
        yield Sample(
            sample_id=sample_id(scene, TARGETS[place], SOURCE, frame),
            scene=scene,
            dataset="hi4d",
            group=group,
            target_camera=TARGETS[place],
            ref_camera=SOURCE,
            target_frame=frame,
            ref_frame=frame,
            width=940,
            height=1280,
            mask_coverage=0.123456,
            image="image.png",
            target_image="target_image.jpg",
            ref_image="ref_image.jpg",
            sizes=(600_000, 200_000, 200_000),
        )


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """Run the aggregate in its own process; return wall seconds, CPU seconds and peak MB."""
    trainer = CHECKOUT / "training" / "simple_multi_human_trainer.py"
    before = time.monotonic()
    process = subprocess.Popen([sys.executable, str(trainer), *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - before
    if status != 0:
        sys.exit("the aggregate failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def check(out: Path, samples: int) -> None:
    """Exit with a message unless the data set has every sample once, in one split."""
    with (out / "difix" / "data.json").open(encoding="utf-8") as stream:
        data = json.load(stream)
    if len(data["train"]) + len(data["test"]) != samples or data["train"].keys() & data["test"]:
        sys.exit(f"data.json has {len(data['train'])} + {len(data['test'])} samples")


if __name__ == "__main__":
    main()
