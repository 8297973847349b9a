"""`run_mode=difix_data_generation_aggregate`: merge all scenes' shards into the training set.

    <results>/_experiments/<exp_name>/difix_data/
        difix/               data.json, which the refiner's training reads, and tuned_on.json
        manifests/           all_samples.jsonl, split_{train,test}.jsonl, split_summary.json
        meta/                generation_stats.json, dropped_samples.csv, generation_config.yaml
        report.md

The folder is complete or absent, and the same shards give the same bytes. Imports no torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from training.system.atomic_write import write_atomically, write_json_atomically
from training.trainer.config.schema import Config
from training.trainer.difix.dataset import DatasetWriter
from training.trainer.difix.dataset_summary import (
    generation_stats,
    markdown_report,
    refuse_leaks,
    split_summary,
)
from training.trainer.difix.shard import FOLDER
from training.trainer.difix.shard_collection import (
    ShardProblem,
    ShardRequirements,
    check_shard,
    scenes_to_merge,
)
from training.trainer.refiner.tuned_on import TunedOn, write_tuned_on
from training.trainer.scene_groups import CONFIG_KEY, Group, groups_of, held_out_groups
from training.trainer.termination import SignalRequests, Terminated, TrainingError


def aggregate(config: Config, requests: SignalRequests) -> None:
    """Merge the shards of the plan's scenes.

    Raises FaultsError, TrainingError naming every shard that is missing, unfinished or foreign,
    OSError; Terminated after SIGTERM. An earlier training set is then unchanged.
    """
    expected = ShardRequirements.of(config)
    groups = groups_of(scenes_to_merge(expected), config.difix_data_generation)
    tested = held_out_groups(groups.values(), config.difix_data_generation)
    with _replacing(config.experiment_output / FOLDER) as partial:
        with DatasetWriter(partial, config.difix_data_generation.prompt) as writer:
            problems = list(_merge(groups, tested, expected, writer, requests))
            _refuse(problems, writer, config)
            writer.close()
        write_tuned_on(partial / "difix", _trained_on(writer))
        _write_summaries(partial, config, writer, problems)
    counts = generation_stats(config.shared.exp_name, writer.counts)["samples_by_split"]
    sides = ", ".join(f"{count} in {split}" for split, count in counts.items())
    warning = "" if _has_train(writer) else "; warning: train is empty"
    print(
        f"{sides}: {config.experiment_output / FOLDER / 'difix' / 'data.json'}{warning}", flush=True
    )


def _merge(
    groups: Mapping[str, Group],
    tested: frozenset[Group],
    expected: ShardRequirements,
    writer: DatasetWriter,
    requests: SignalRequests,
) -> Iterator[ShardProblem]:
    """Write one shard after the other; yield a problem for each that can't be merged."""
    for scene, group in groups.items():
        if requests.stop:
            raise Terminated
        shard = check_shard(scene, group, expected)
        if isinstance(shard, ShardProblem):
            yield shard
        else:
            writer.add(shard, expected.folder(scene), "test" if group in tested else "train")


def _refuse(problems: list[ShardProblem], writer: DatasetWriter, config: Config) -> None:
    """Raise TrainingError when the training set would be incomplete or empty, or leak."""
    if problems and not config.difix_data_generation.allow_partial:
        listed = "".join(f"\n    {problem}" for problem in problems)
        raise TrainingError(
            f"{len(problems)} of {len(problems) + len(writer.counts)} shards can't be merged:"
            f"{listed}\n    -> generate them again with this configuration, "
            f"or leave them out with {CONFIG_KEY}.allow_partial=true"
        )
    if not any(each.samples for each in writer.counts):
        raise TrainingError("no shard has a sample: see dropped_samples.csv of the scenes")
    if config.difix_data_generation.strict and not _has_train(writer):
        raise TrainingError(
            f"train is empty, all samples are of test groups: see {CONFIG_KEY}.test_groups; "
            f"{CONFIG_KEY}.strict=false makes a test set alone"
        )
    refuse_leaks(writer.counts)


def _has_train(writer: DatasetWriter) -> bool:
    return any(each.samples for each in writer.counts if each.split == "train")


def _trained_on(writer: DatasetWriter) -> TunedOn:
    train = [each for each in writer.counts_of("train") if each.samples]
    groups = sorted({str(each.group) for each in train})
    return TunedOn(tuple(groups), tuple(sorted(each.scene for each in train)))


def _write_summaries(
    root: Path, config: Config, writer: DatasetWriter, left_out: list[ShardProblem]
) -> None:
    exp_name, counts = config.shared.exp_name, writer.counts
    write_json_atomically(
        root / "manifests/split_summary.json", split_summary(exp_name, counts, left_out)
    )
    write_json_atomically(root / "meta/generation_stats.json", generation_stats(exp_name, counts))
    content = config.model_dump(mode="json", include={"seed", "model", CONFIG_KEY})
    text = yaml.safe_dump({"exp_name": exp_name, **content}, sort_keys=False)
    write_atomically(root / "meta/generation_config.yaml", text)
    write_atomically(root / "report.md", markdown_report(exp_name, counts, left_out))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into that replaces `folder` when no exception is raised."""
    partial = folder.with_name(f".{folder.name}.partial")
    previous = folder.with_name(f".{folder.name}.previous")
    if previous.exists() and not folder.exists():  # killed between the two renames below
        previous.rename(folder)
    for left in (partial, previous):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rename(previous)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)
