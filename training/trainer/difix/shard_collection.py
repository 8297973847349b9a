"""The shards of an experiment: which are expected, and whether each can be merged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preprocess.faults import Fault, FaultsError
from preprocess.json_file import read_json
from preprocess.roots import under_checkout
from training.trainer.config.schema import EXPERIMENTS, Config
from training.trainer.difix.sample_names import as_named_today, sample_id
from training.trainer.difix.shard import (
    FOLDER,
    SCHEMA_VERSION,
    Sample,
    Shard,
    ShardFolder,
    deciding_keys,
    read_shard,
)
from training.trainer.scene_groups import Group

PLAN_VARIABLE = "TS_PLAN_FILE"
"""Names the launcher's plan file, of which `exp_name` and `scenes[].name` are read."""
SAMPLE_ID = re.compile(r"(?P<scene>.+)__tcam\d+__rc?cam\d+__tf\d+__rf\d+")
Kind = Literal["missing", "unfinished", "foreign"]


@dataclass(frozen=True)
class ShardProblem:
    """Why a scene's shard can't be merged; its fields are keys of split_summary.json."""

    scene: str
    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.scene}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class ShardRequirements:
    """What every shard of an experiment must agree with."""

    results_root: Path
    exp_name: str
    keys: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config) -> ShardRequirements:
        """Return the requirements of this run's configuration."""
        # Absolute, with links as the user wrote them: these paths go into the data set.
        root = Path(os.path.abspath(under_checkout(config.shared.results_root)))
        return cls(root, config.shared.exp_name, deciding_keys(config))

    def folder(self, scene: str) -> ShardFolder:
        """Return the folder of a scene's shard."""
        return ShardFolder(self.results_root / scene / self.exp_name / FOLDER)


def scenes_to_merge(expected: ShardRequirements) -> list[str]:
    """Return the scenes to merge, sorted: the plan's, or without a plan all that have a folder.

    The plan is the file that TS_PLAN_FILE names. Raises FaultsError.
    """
    plan_file = os.environ.get(PLAN_VARIABLE)
    if plan_file:
        return _planned(Path(plan_file), expected.exp_name)
    found = expected.results_root.glob(f"*/{expected.exp_name}/{FOLDER}")
    scenes = sorted(path.parents[1].name for path in found)
    scenes = [scene for scene in scenes if scene != EXPERIMENTS]
    if not scenes:
        where = str(expected.folder("*").root)
        remedy = "generate first: run_mode=difix_data_generation_generate for each scene"
        raise FaultsError([Fault("no scene of this experiment has DiFix data", where, remedy)])
    return scenes


def check_shard(scene: str, group: Group, expected: ShardRequirements) -> Shard | ShardProblem:
    """Return a scene's shard, or what is wrong with it."""
    folder = expected.folder(scene)
    if not folder.root.is_dir():
        return ShardProblem(scene, "missing", f"no folder {folder.root}")
    if not folder.shard.exists():
        return ShardProblem(scene, "unfinished", f"{folder.root} has no {folder.shard.name}")
    try:
        shard = read_shard(folder)
    except (OSError, ValueError) as error:
        return ShardProblem(scene, "unfinished", f"{folder.shard} can't be read: {error}")
    differing = _differences(shard, scene, group, expected) or _foreign_ids(shard, expected)
    if differing:
        return ShardProblem(scene, "foreign", differing)
    if lacking := folder.lacks(shard.samples):
        return ShardProblem(scene, "unfinished", f"no folder of {_some(lacking)}")
    return shard


def _planned(path: Path, exp_name: str) -> list[str]:
    try:
        plan = read_json(path)
        planned_experiment = str(plan["exp_name"])
        scenes = sorted({str(scene["name"]) for scene in plan["scenes"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"set {PLAN_VARIABLE} to a plan's file, or unset it"
        raise FaultsError([Fault(f"{path} can't be read as a plan", str(error), remedy)]) from error
    if planned_experiment != exp_name:
        remedy = f"set shared.exp_name={planned_experiment}, or unset {PLAN_VARIABLE}"
        raise FaultsError(
            [Fault(f"{path} is of experiment {planned_experiment}, not", exp_name, remedy)]
        )
    return scenes


def _differences(shard: Shard, scene: str, group: Group, expected: ShardRequirements) -> str:
    """Say in what a shard differs from this experiment; empty when in nothing."""
    theirs = {
        "schema_version": shard.schema_version,
        "scene": shard.scene,
        "exp_name": shard.exp_name,
        "group": str(Group(shard.dataset, shard.group)),
        **shard.configuration.keys,
    }
    ours = {
        "schema_version": SCHEMA_VERSION,
        "scene": scene,
        "exp_name": expected.exp_name,
        "group": str(group),
        **expected.keys,
    }
    keys = sorted(theirs.keys() | ours.keys())
    return ", ".join(
        f"{key} {theirs.get(key)!r} (here {ours.get(key)!r})"
        for key in keys
        if theirs.get(key) != ours.get(key)
    )


def _foreign_ids(shard: Shard, expected: ShardRequirements) -> str:
    """Say which samples another shard could have too; empty when none could.

    An id names its scene, and a scene has one shard: ids that are all their own scene's, each there
    once, can't meet those of another shard. So no ids need be remembered across shards.
    """
    if strays := [sample.sample_id for sample in shard.samples if not _is_own(sample, shard)]:
        return "; ".join(_owner(stray, expected) for stray in strays[:3]) + _more(strays[3:])
    ids = [sample.sample_id for sample in shard.samples]
    if len(set(ids)) < len(ids):
        return f"one sample id twice: {_some(sorted({i for i in ids if ids.count(i) > 1}))}"
    return ""


def _is_own(sample: Sample, shard: Shard) -> bool:
    own = sample_id(shard.scene, sample.target_camera, sample.ref_camera, sample.target_frame)
    return as_named_today(sample.sample_id) == own


def _owner(stray: str, expected: ShardRequirements) -> str:
    match = SAMPLE_ID.fullmatch(stray)
    if match is None:
        return f"{stray} is not a sample id"
    scene = match["scene"]
    too = expected.folder(scene).sample(stray).is_dir()
    return f"sample id {stray} is " + (f"in the shard of {scene} too" if too else f"of {scene}")


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + _more(ids[3:])


def _more(ids: list[str]) -> str:
    return f" and {len(ids)} more" if ids else ""
