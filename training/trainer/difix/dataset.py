"""Write the files of the refiner's training set, shard by shard, and count what is written."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self

from training.trainer.difix.shard import (
    IMAGES,
    Shard,
    ShardFolder,
    dropped_by_reason,
    dropped_table,
    samples_by_camera,
)
from training.trainer.scene_groups import Group

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
COPIED_AT_ONCE = 2**20


@dataclass(frozen=True)
class SceneCounts:
    """What one scene contributed."""

    scene: str
    group: Group
    split: Split
    model: str
    cameras: dict[str, int]
    dropped: dict[str, int]

    @property
    def samples(self) -> int:
        """The scene's samples, all cameras together."""
        return sum(self.cameras.values())


@dataclass
class DatasetWriter:
    """Writes the manifests and data.json into `root`, one shard after the other.

    A context manager; call `close` before leaving it to complete data.json. Only counts stay in
    memory.
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
            "train pairs": "difix/data.json",
            "test pairs": "difix/.test",
            "dropped": "meta/dropped_samples.csv",
        }
        for key, name in names.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[key] = self._stack.enter_context(path.open("w", encoding="utf-8"))
        self._files["train pairs"].write('{"train": {')
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, shard: Shard, folder: ShardFolder, split: Split) -> None:
        """Append a shard's samples to the files of its split; raises OSError."""
        lines, pairs = [], []
        root, encode = f"{folder.samples}{os.sep}", json.JSONEncoder().encode
        for sample in shard.samples:
            before = f"{root}{sample.sample_id}{os.sep}"
            paths = dict(zip(IMAGES, (before + name for name in sample.files), strict=True))
            row = {**sample.__dict__, "split": split, **paths}
            del row["sizes"]
            lines.append(encode(row) + "\n")
            paths["prompt"] = self.prompt
            pairs.append(f"{encode(sample.sample_id)}: {encode(paths)}")
        text = "".join(lines)
        self._files["all"].write(text)
        self._files[split].write(text)
        if pairs:
            before = ",\n" if any(each.samples for each in self.counts_of(split)) else "\n"
            self._files[f"{split} pairs"].write(before + ",\n".join(pairs))
        table = dropped_table(shard.dropped, shard.scene, heading=not self.counts)
        self._files["dropped"].write(table)
        self.counts.append(_counts_of(shard, split))

    def counts_of(self, split: Split) -> list[SceneCounts]:
        """Return the counts of the scenes in a split."""
        return [each for each in self.counts if each.split == split]

    def close(self) -> None:
        """Complete data.json and wait until the disk has all files; raises OSError."""
        data, test = self._files["train pairs"], self._files.pop("test pairs")
        test.flush()
        data.write('},\n"test": {')
        with Path(test.name).open(encoding="utf-8") as source:
            shutil.copyfileobj(source, data, COPIED_AT_ONCE)
        data.write("}}\n")
        Path(test.name).unlink()
        for stream in self._files.values():
            stream.flush()
            os.fsync(stream.fileno())


def _counts_of(shard: Shard, split: Split) -> SceneCounts:
    return SceneCounts(
        scene=shard.scene,
        group=Group(shard.dataset, shard.group),
        split=split,
        model=str(shard.configuration.model.get("source")),
        cameras=samples_by_camera(shard.samples),
        dropped=dropped_by_reason(shard.dropped),
    )
