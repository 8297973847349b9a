"""What merging DiFix shards costs: time and memory of the trainer's aggregate.

Shards of 1,000 samples each are written (a folder for each sample, no images: the aggregate opens
none), merged by `run_mode=difix_data_generation_aggregate`, and the data set is read back.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import CHECKOUT, run_command
from benchmarks.subject import Aim, Measure, Row, Size, Subject, UnavailableError, median

if TYPE_CHECKING:
    from training.trainer.difix.shard import Sample

AGGREGATE = "run_mode=difix_data_generation_aggregate"
TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
SOURCE, TARGETS = 28, (4, 16, 40, 52, 64, 76, 88)
SHARDS: Mapping[Size, int] = {"quick": 20, "usual": 1000, "full": 1000}
SAMPLES = 1000
OURS = "aggregate"


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Write the shards and yield the aggregate."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["shared.exp_name=bench", f"shared.results_root={folder}", AGGREGATE]
        write_shards(arguments, SHARDS[size], SAMPLES)
        yield {OURS: partial(measure, Path(folder), arguments, SHARDS[size] * SAMPLES)}


def measure(folder: Path, arguments: list[str], samples: int) -> list[Row]:
    """Merge the shards once, anew; return time and memory."""
    made = folder / "_experiments"
    shutil.rmtree(made, ignore_errors=True)
    cost = run_command([sys.executable, str(TRAINER), *arguments])
    check(made / "bench" / "difix_data", samples)
    suffix = f", {samples:,} samples"
    return [
        Row(f"wall{suffix}", OURS, (cost.wall_s,)),
        Row(f"CPU{suffix}", OURS, (cost.cpu_s,)),
        Row(f"memory{suffix}", OURS, (cost.peak_mb,), "MB"),
    ]


def write_shards(arguments: list[str], shards: int, samples: int) -> None:
    """Write shards of scenes hi4d_pair00_0000, …, eight scenes per pair."""
    from training.trainer.config.compose import load_config
    from training.trainer.difix.shard import Configuration, deciding_keys, make_shard
    from training.trainer.difix.shard_collection import ShardRequirements
    from training.trainer.scene_groups import group_of

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
    from training.trainer.difix.sample_names import sample_id
    from training.trainer.difix.shard import Sample

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


def check(out: Path, samples: int) -> None:
    """Raise UnavailableError unless the data set has every sample once, in one split."""
    with (out / "difix" / "data.json").open(encoding="utf-8") as stream:
        data = json.load(stream)
    if len(data["train"]) + len(data["test"]) != samples or data["train"].keys() & data["test"]:
        raise UnavailableError(f"data.json has {len(data['train'])} + {len(data['test'])} samples")


MILLION = ", 1,000,000 samples"
SUBJECTS = (
    Subject(
        name="difix_aggregate",
        title="DiFix aggregate",
        about=(
            "`run_mode=difix_data_generation_aggregate` over shards of 1,000 samples each, in a "
            "process of its own; the data set is read back and compared."
        ),
        opened=opened,
        variants=(OURS,),
        aims=(
            Aim("merging a million samples, s", median(f"wall{MILLION}", OURS), 60),
            Aim("merging a million samples, MB", median(f"memory{MILLION}", OURS), 500),
        ),
        max_rounds=1,
    ),
)
