"""The files of the refiner's training set, written while shards go by, and their counts."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self

from training.trainer.difix_names import Group
from training.trainer.difix_shard import IMAGES, Shard, ShardFolder, dropped_table

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class SceneCounts:
    """What one scene gave."""

    scene: str
    group: Group
    split: Split
    model: str
    cameras: dict[str, int]
    dropped: dict[str, int]

    @property
    def samples(self) -> int:
        """In all."""
        return sum(self.cameras.values())


@dataclass
class DatasetWriter:
    """Writes manifests and data.json into `root`, one shard after the other.

    Use as a context; `close` joins what was kept apart. Only counts stay in memory.
    """

    root: Path
    prompt: str
    counts: list[SceneCounts] = field(default_factory=list)
    _files: dict[str, IO[str]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        names = {
            "all": "manifests/all_samples.jsonl",
            "train": "manifests/split_train.jsonl",
            "test": "manifests/split_test.jsonl",
            "train pairs": "difix/.train",
            "test pairs": "difix/.test",
            "dropped": "meta/dropped_samples.csv",
        }
        for key, name in names.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[key] = self._stack.enter_context(path.open("w", encoding="utf-8"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, shard: Shard, folder: ShardFolder, split: Split) -> None:
        """Append a shard's samples to the files of its split; raises OSError."""
        lines, pairs = [], []
        for sample in shard.samples:
            paths = dict(zip(IMAGES, _paths(folder, sample.sample_id, sample.files), strict=True))
            row = {**sample.model_dump(exclude={"sizes"}), "split": split, **paths}
            lines.append(json.dumps(row) + "\n")
            pair = json.dumps({**paths, "prompt": self.prompt})
            pairs.append(f"{json.dumps(sample.sample_id)}: {pair}")
        self._files["all"].writelines(lines)
        self._files[split].writelines(lines)
        if pairs:
            before = ",\n" if any(each.samples for each in self.counts_of(split)) else "\n"
            self._files[f"{split} pairs"].write(before + ",\n".join(pairs))
        table = dropped_table(shard.dropped, shard.scene, heading=not self.counts)
        self._files["dropped"].write(table)
        self.counts.append(_counts_of(shard, split))

    def counts_of(self, split: Split) -> list[SceneCounts]:
        """Those of one side."""
        return [each for each in self.counts if each.split == split]

    def close(self) -> None:
        """Put data.json together and have all of it on the disk; raises OSError."""
        with (self.root / "difix" / "data.json").open("w", encoding="utf-8") as data:
            for split, before in zip(SPLITS, ("{", ",\n"), strict=True):
                data.write(f'{before}"{split}": {{')
                self._copy(f"{split} pairs", data)
                data.write("}")
            data.write("}\n")
            _settle(data)
        for key, stream in self._files.items():
            if key.endswith(" pairs"):
                Path(stream.name).unlink()
            else:
                _settle(stream)

    def _copy(self, key: str, target: IO[str]) -> None:
        self._files[key].flush()
        with Path(self._files[key].name).open(encoding="utf-8") as source:
            shutil.copyfileobj(source, target, 2**20)


def _paths(folder: ShardFolder, sample_id: str, names: tuple[str, ...]) -> list[str]:
    root = f"{folder.samples}{os.sep}{sample_id}{os.sep}"
    return [root + name for name in names]


def _counts_of(shard: Shard, split: Split) -> SceneCounts:
    statistics = shard.statistics
    return SceneCounts(
        scene=shard.scene,
        group=Group(shard.dataset, shard.group),
        split=split,
        model=str(shard.configuration.model.get("source")),
        cameras=statistics.samples_by_camera,
        dropped=statistics.dropped_by_reason,
    )


def _settle(stream: IO[str]) -> None:
    stream.flush()
    os.fsync(stream.fileno())
