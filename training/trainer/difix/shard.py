"""The shard: what one scene contributes to the refiner's training set, as a folder.

    samples/<sample id>/{image.png,target_image.*,ref_image.*,meta.json}
    dropped_samples.csv  contact_sheet.png  shard.json

A sample's folder that exists is complete, and so is a shard whose shard.json exists. Other files in
the folder belong to others and are left alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess.json_file import read_json
from training.configuration.overrides import select
from training.configuration.run_modes import GENERATE
from training.system.atomic_write import write_durably, write_json_atomically
from training.trainer.config.schema import Config

SCHEMA_VERSION = 1
FOLDER = GENERATE.output_subdir
SHARD = "shard.json"
META = "meta.json"
IMAGES = ("image", "target_image", "ref_image")
DECIDING_KEYS = (
    "seed",
    "model.body_file",
    "model.gaussians_per_person",
    "model.background",
    "difix_data_generation.target_cameras.mode",
    "difix_data_generation.target_cameras.ids",
    "difix_data_generation.frame_stride",
    "difix_data_generation.max_samples_per_camera",
    "difix_data_generation.min_mask_coverage",
    "difix_data_generation.poses",
)
"""The keys that decide what is in a shard, besides its scene and its model."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+\.[a-z]+$")]


class FileModel(BaseModel):
    """Base of what is stored as JSON; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sample(FileModel):
    """One sample: cameras, frames, image size and file names."""

    sample_id: str
    scene: str
    dataset: str
    group: str
    target_camera: int
    ref_camera: int
    target_frame: int
    ref_frame: int
    width: int
    height: int
    mask_coverage: float
    """The fraction of the target image that people cover."""
    image: FileName
    target_image: FileName
    ref_image: FileName
    sizes: tuple[int, int, int]
    """Bytes of the three files."""

    @property
    def files(self) -> tuple[str, str, str]:
        """Names of the three images, in the order of IMAGES."""
        return self.image, self.target_image, self.ref_image


class Dropped(FileModel):
    """A sample that was left out, and why."""

    sample_id: str
    target_camera: int
    frame: int
    reason: str
    detail: str


class Configuration(FileModel):
    """Everything that decides a shard's content."""

    keys: dict[str, Any]
    """The keys of DECIDING_KEYS, dotted, with their values."""
    scene: dict[str, Any]
    """The scene's JSON."""
    model: dict[str, Any]
    """`source`: checkpoint or initial; of a checkpoint also its `epoch` and weights' `digest`."""

    @property
    def digest(self) -> str:
        """A short hash of all of it, stored with each sample."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Statistics(FileModel):
    """Counts of a shard."""

    samples: int
    samples_by_camera: dict[str, int]
    dropped: int
    dropped_by_reason: dict[str, int]


class Shard(FileModel):
    """The content of shard.json."""

    schema_version: int
    scene: str
    dataset: str
    group: str
    exp_name: str
    configuration: Configuration
    statistics: Statistics
    dropped: tuple[Dropped, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ShardFolder:
    """Paths of one scene's shard, and its samples on disk."""

    root: Path

    @property
    def shard(self) -> Path:
        """The manifest, which is written last."""
        return self.root / SHARD

    @property
    def samples(self) -> Path:
        """The folder that has one folder per sample."""
        return self.root / "samples"

    @property
    def dropped(self) -> Path:
        """The table of what was left out."""
        return self.root / "dropped_samples.csv"

    @property
    def contact_sheet(self) -> Path:
        """A picture of some samples."""
        return self.root / "contact_sheet.png"

    def sample(self, sample_id: str) -> Path:
        """Return the path of one sample's folder."""
        return self.samples / sample_id

    def write_sample(self, sample: Sample, contents: Sequence[bytes], digest: str) -> None:
        """Write a sample's images and meta.json, all or none; raises OSError."""
        partial = self.samples / f".{sample.sample_id}.partial"
        partial.mkdir(parents=True)
        try:
            for name, content in zip(sample.files, contents, strict=True):
                write_durably(partial / name, content)
            meta = {**sample.model_dump(), "configuration": digest}
            write_durably(partial / META, json.dumps(meta, indent=2) + "\n")
            partial.rename(self.sample(sample.sample_id))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def whole_samples(self, digest: str) -> dict[str, Sample]:
        """Return the complete samples made with that configuration; delete all others."""
        found = {}
        for path in sorted(self.samples.iterdir()) if self.samples.is_dir() else []:
            sample = read_sample(path, digest)
            if sample is None:
                shutil.rmtree(path)
            else:
                found[sample.sample_id] = sample
        return found

    def delete_other_samples(self, kept: Iterable[Sample]) -> None:
        """Delete the folders of samples that are not among `kept`; raises OSError."""
        names = {sample.sample_id for sample in kept}
        for path in self.samples.iterdir() if self.samples.is_dir() else []:
            if path.name not in names:
                shutil.rmtree(path)

    def lacks(self, samples: Iterable[Sample]) -> list[str]:
        """Return the ids of samples that have no folder."""
        there = set(_names_in(self.samples)) if self.samples.is_dir() else set()
        return [sample.sample_id for sample in samples if sample.sample_id not in there]


def _names_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def deciding_keys(config: Config) -> dict[str, Any]:
    """Return the keys of DECIDING_KEYS with their values."""
    content = config.model_dump(mode="json")
    return {key: select(content, key) for key in DECIDING_KEYS}


def make_shard(
    configuration: Configuration,
    names: Mapping[str, str],
    samples: Sequence[Sample],
    dropped: Sequence[Dropped],
) -> Shard:
    """Return a shard with its counts; `names` are scene, dataset, group and exp_name."""
    statistics = Statistics(
        samples=len(samples),
        samples_by_camera=samples_by_camera(samples),
        dropped=len(dropped),
        dropped_by_reason=dropped_by_reason(dropped),
    )
    return Shard(
        schema_version=SCHEMA_VERSION,
        configuration=configuration,
        statistics=statistics,
        samples=tuple(samples),
        dropped=tuple(dropped),
        **names,
    )


def samples_by_camera(samples: Iterable[Sample]) -> dict[str, int]:
    """Count the samples of each target camera."""
    counts = Counter(sample.target_camera for sample in samples)
    return {str(camera): counts[camera] for camera in sorted(counts)}


def dropped_by_reason(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Count the dropped samples by reason."""
    return dict(sorted(Counter(each.reason for each in dropped).items()))


def dropped_table(rows: Iterable[Dropped], scene: str, *, heading: bool = True) -> str:
    """Return a scene's dropped samples as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([["scene", *Dropped.model_fields]] if heading else [])
    writer.writerows([scene, *row.model_dump().values()] for row in rows)
    return buffer.getvalue()


def write_shard(folder: ShardFolder, shard: Shard) -> None:
    """Write shard.json, whole or not at all; raises OSError."""
    write_json_atomically(folder.shard, shard.model_dump(mode="json"))


def read_shard(folder: ShardFolder) -> Shard:
    """Read shard.json; raises OSError, or ValueError when it is not a shard's manifest."""
    try:
        return Shard.model_validate_json(folder.shard.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else str(first["msg"])) from error


def read_sample(path: Path, digest: str) -> Sample | None:
    """Return the sample of a folder, or None unless it is complete and of that configuration."""
    try:
        meta = read_json(path / META)
        made_with = meta.pop("configuration")
        sample = Sample.model_validate(meta)
        # A node that crashed may have left files that are shorter than what was written.
        sizes = tuple((path / name).stat().st_size for name in sample.files)
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    is_whole = made_with == digest and sizes == sample.sizes and path.name == sample.sample_id
    return sample if is_whole else None
