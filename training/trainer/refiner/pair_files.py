"""Samples of the refiner's training set, and what is wrong with their files; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from preprocess.faults import Fault, FaultsError
from preprocess.json_file import read_json
from preprocess.scene_data import SceneDataError, picture_size

SPLITS = ("train", "test")
FILES = ("image", "target_image", "ref_image")
READERS = 8
"""Samples that are looked at at once."""


class Pair(NamedTuple):
    """One sample's name and the paths of its images, in the order of FILES."""

    name: str
    paths: tuple[Path, Path, Path]

    @property
    def scene(self) -> str:
        """The scene's name, with which that of the sample begins."""
        return self.name.partition("__tcam")[0]


def read_pairs(path: Path) -> dict[str, list[Pair]]:
    """Return the samples of a data.json by split, sorted by name; raises FaultsError."""
    try:
        content = read_json(path)
        return {split: _pairs(content.get(split, {}), path.parent) for split in SPLITS}
    except OSError as error:
        remedy = "make it first: run_mode=difix_data_generation_generate of each scene, then "
        remedy += "difix_data_generation_aggregate; or set refiner_train.dataset"
        what = f"the refiner's training set can't be read: {error.strerror}"
        raise FaultsError([Fault(what, str(path), remedy)]) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "expected train and test, each with image, target_image and ref_image by sample"
        raise FaultsError(
            [Fault(f"{path} is no data.json of DiFix", repr(error), remedy)]
        ) from error


def pair_file_faults(path: Path) -> list[Fault]:
    """Return what headers say is wrong with the training set of this data.json, as one fault."""
    try:
        splits = read_pairs(path)
    except FaultsError as error:
        return list(error.faults)
    pairs = [pair for split in splits.values() for pair in split]
    with ThreadPoolExecutor(READERS, "headers") as pool:
        wrong = [reason for reason in pool.map(_damage, pairs) if reason]
    if not wrong:
        return []
    what = f"{len(wrong)} of the {len(pairs)} samples of {path} can't be used"
    remedy = "make them again: delete the shard.json of their scenes, and generate once more"
    return [Fault(what, f"e.g. {wrong[0]}", remedy)]


def _damage(pair: Pair) -> str:
    """Return in words what is wrong with a sample's files; nothing for a sound one."""
    try:
        render, target, _ = map(picture_size, pair.paths)
    except SceneDataError as error:
        return str(error)
    return "" if render == target else f"{pair.name}: render {render}, target {target}"


def _pairs(samples: Mapping[str, Mapping[str, str]], folder: Path) -> list[Pair]:
    return [
        Pair(name, tuple(folder / files[key] for key in FILES))  # type: ignore[arg-type]
        for name, files in sorted(samples.items())
    ]
