"""Summarise a merged training set: the split, counts, and a report for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from preprocess.faults import counted
from training.trainer.difix.dataset import SPLITS, SceneCounts, Split
from training.trainer.difix.shard import SCHEMA_VERSION
from training.trainer.difix.shard_collection import ShardProblem
from training.trainer.scene_groups import Group
from training.trainer.termination import TrainingError

MOST_ROWS = 60


def refuse_leaks(counts: Iterable[SceneCounts]) -> None:
    """Raise TrainingError when a group is in both splits."""
    sides: dict[Group, set[Split]] = {}
    for each in counts:
        sides.setdefault(each.group, set()).add(each.split)
    if leaking := sorted(str(group) for group, splits in sides.items() if len(splits) > 1):
        raise TrainingError(f"groups on both sides of the split: {', '.join(leaking)}")


def split_summary(
    exp_name: str, counts: Sequence[SceneCounts], left_out: Sequence[ShardProblem]
) -> dict[str, Any]:
    """Return the content of split_summary.json: groups and scenes by split, scenes left out."""
    splits = {split: [each for each in counts if each.split == split] for split in SPLITS}
    return {
        "schema_version": SCHEMA_VERSION,
        "exp_name": exp_name,
        "complete": not left_out,
        "splits": {split: _side(members) for split, members in splits.items()},
        "left_out": [vars(problem) for problem in left_out],
    }


def generation_stats(exp_name: str, counts: Sequence[SceneCounts]) -> dict[str, Any]:
    """Return the content of generation_stats.json.

    Counts of samples by split, data set, group, camera and scene, and of what was dropped.
    """
    dropped = _total(each.dropped for each in counts)
    return {
        "schema_version": SCHEMA_VERSION,
        "exp_name": exp_name,
        "samples": sum(each.samples for each in counts),
        "samples_by_split": _samples_by(counts, lambda each: each.split),
        "samples_by_dataset": _samples_by(counts, lambda each: each.group.dataset),
        "samples_by_group": _samples_by(counts, lambda each: str(each.group)),
        "samples_by_camera": _total(each.cameras for each in counts),
        "dropped": sum(dropped.values()),
        "dropped_by_reason": dropped,
        "scenes_by_model": dict(sorted(Counter(each.model for each in counts).items())),
        "scenes": [_scene_row(each) for each in counts],
    }


def markdown_report(
    exp_name: str, counts: Sequence[SceneCounts], left_out: Sequence[ShardProblem]
) -> str:
    """Return the same counts as Markdown, for people."""
    stats = generation_stats(exp_name, counts)
    lines = [
        f"# DiFix data of {exp_name}",
        "",
        f"{counted(stats['samples'], 'sample')} of {counted(len(counts), 'scene')}, "
        f"{stats['dropped']} dropped. " + _models(stats["scenes_by_model"]),
        "",
        *[f"- **left out**: {problem}" for problem in left_out],
        *[f"- **no sample in {split}**" for split in _empty(counts)],
        "",
        *_table(("split", "samples", "groups"), _split_rows(counts)),
        *_table(("camera", "samples"), list(stats["samples_by_camera"].items())),
        *_table(("dropped because", "samples"), list(stats["dropped_by_reason"].items())),
        *_table(
            ("scene", "group", "split", "samples", "dropped"),
            [
                (each.scene, each.group, each.split, each.samples, sum(each.dropped.values()))
                for each in counts
            ],
        ),
    ]
    return "\n".join(lines)


def _side(members: Sequence[SceneCounts]) -> dict[str, Any]:
    return {
        "samples": sum(each.samples for each in members),
        "groups": sorted({str(each.group) for each in members}),
        "scenes": [each.scene for each in members],
    }


def _scene_row(each: SceneCounts) -> dict[str, Any]:
    return {
        "scene": each.scene,
        "group": str(each.group),
        "split": each.split,
        "model": each.model,
        "samples": each.samples,
        "samples_by_camera": each.cameras,
        "dropped_by_reason": each.dropped,
    }


def _samples_by(
    counts: Iterable[SceneCounts], name_of: Callable[[SceneCounts], str]
) -> dict[str, int]:
    return _total({name_of(each): each.samples} for each in counts)


def _total(each: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sum counts by name; camera ids are sorted by number."""
    total: Counter[str] = Counter()
    for counts in each:
        total.update(counts)
    return dict(sorted(total.items(), key=lambda item: (len(item[0]) * item[0].isdigit(), item[0])))


def _models(scenes_by_model: dict[str, int]) -> str:
    parts = [f"{count} {model}" for model, count in scenes_by_model.items()]
    return f"Rendered models, by scene: {', '.join(parts)}."


def _empty(counts: Iterable[SceneCounts]) -> list[Split]:
    there = {each.split for each in counts if each.samples}
    return [split for split in SPLITS if split not in there]


def _split_rows(counts: Sequence[SceneCounts]) -> list[tuple[object, ...]]:
    sides = {split: _side([e for e in counts if e.split == split]) for split in SPLITS}
    return [
        (split, side["samples"], ", ".join(side["groups"][:MOST_ROWS]) or "none")
        for split, side in sides.items()
    ]


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return []
    shown = [titles, ["---"] * len(titles), *rows[:MOST_ROWS]]
    more = [f"\n… and {len(rows) - MOST_ROWS} more: meta/generation_stats.json"]
    lines = [f"| {' | '.join(map(str, row))} |" for row in shown]
    return [*lines, *(more if len(rows) > MOST_ROWS else []), ""]
