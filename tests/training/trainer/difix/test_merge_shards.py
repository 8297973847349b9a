"""All shards become one training set: complete or not at all, without leaks, byte for byte."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preprocess.roots import CHECKOUT
from training.plan.model import Plan, ScenePlan
from training.system.paths import Roots
from training.trainer.difix import merge_shards

KEY = "difix_data_generation"
COMMAND = ("shared.exp_name=exp", "run_mode=difix_data_generation_aggregate")


class PairedReader:
    """Reads what the public Difix3D training reads (its PairedDataset), in the same way.

    `image` is conditioned on, `target_image` learned, `ref_image` stacked to both; height 576,
    width 1024, values -1 to 1; a caption from `prompt`.
    """

    def __init__(self, path, split, size=(576, 1024)):
        self.rows = json.loads(Path(path).read_text("utf-8"))[split]
        self.ids, self.size = list(self.rows), size

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        row = self.rows[self.ids[index]]
        image, target, reference = (
            self._tensor(row[key]) for key in ("image", "target_image", "ref_image")
        )
        return {
            "conditioning_pixel_values": torch.stack([image, reference]),
            "output_pixel_values": torch.stack([target, reference]),
            "caption": row["prompt"],
        }

    def _tensor(self, path):
        with Image.open(path) as picture:
            # As its to_tensor does: channels are taken as they are.
            levels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
        resize = torch.nn.functional.interpolate
        return resize(levels[None], self.size, mode="bilinear", antialias=True)[0] * 2 - 1


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def edit(path, **changes):
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def plan_of(tiny_scene, scenes, exp_name="exp"):
    """Write a launcher's plan for those scenes; return its file."""
    root = tiny_scene.results.parent
    planned = [
        ScenePlan(
            name=name,
            exp_name=exp_name,
            scene={},
            scene_file=tiny_scene.scene_file(name),
            action="run",
            reason="new",
            command=(),
            environment={},
            output=tiny_scene.shard_folder(name),
            fingerprint="",
            expected_outputs=("shard.json",),
            time_limit_s=0,
            kill_grace_s=0,
            cancelled=root / "cancelled",
        )
        for name in scenes
    ]
    roots = Roots(results_root=tiny_scene.results, scene_data_root=root, state_root=root)
    limits = {"workers": 1, "gpus": (), "max_retries": 0, "max_failures": 0}
    plan = Plan(
        plan_id="id",
        created=datetime.now(UTC),
        exp_name=exp_name,
        roots=roots,
        scenes=tuple(planned),
        **limits,
    )
    path = root / "plan.json"
    path.write_text(plan.model_dump_json(), encoding="utf-8")
    return path


def test_four_scenes_of_two_groups_become_a_data_set_that_difix3d_reads(shards):
    """Every sample loads, its images have one size, and a pair is in one split only."""
    assert shards.aggregate() == 0
    path = shards.dataset / "difix" / "data.json"
    counts = {}
    for split in ("train", "test"):
        reader = PairedReader(path, split, size=(64, 64))
        counts[split] = len(reader)
        assert len({sample_id.split("__")[0] for sample_id in reader.ids}) == 2
        pair = {"train": "pair01", "test": "pair02"}[split]
        assert all(pair in sample_id for sample_id in reader.ids)
        for index in range(len(reader)):
            sample = reader[index]
            assert sample["conditioning_pixel_values"].shape == (2, 3, 64, 64)
            assert sample["output_pixel_values"].shape == (2, 3, 64, 64)
            assert sample["caption"] == "remove degradation"
        for row in reader.rows.values():
            assert list(row) == ["image", "target_image", "ref_image", "prompt"]
            files = [row[key] for key in ("image", "target_image", "ref_image")]
            assert all(Path(file).is_absolute() for file in files)
            assert len({Image.open(file).size for file in files}) == 1
    assert counts == {"train": 6 + 8, "test": 8 + 8}
    large = PairedReader(path, "test")[0]["conditioning_pixel_values"]
    assert large.shape == (2, 3, 576, 1024)


def test_manifests_counts_and_report_agree(shards):
    """Lines, counts by scene, camera and split, what was dropped, the configuration."""
    assert shards.aggregate(f"{KEY}.prompt='repair it'") == 0
    manifests, meta = shards.dataset / "manifests", shards.dataset / "meta"
    rows = lines(manifests / "all_samples.jsonl")
    data = json.loads((shards.dataset / "difix" / "data.json").read_text("utf-8"))
    for split in ("train", "test"):
        own = lines(manifests / f"split_{split}.jsonl")
        assert own == [row for row in rows if row["split"] == split]
        assert [row["sample_id"] for row in own] == list(data[split])
        assert all(data[split][row["sample_id"]]["image"] == row["image"] for row in own)
        assert all(each["prompt"] == "repair it" for each in data[split].values())
    assert len(rows) == len({row["sample_id"] for row in rows}) == 30
    summary = json.loads((manifests / "split_summary.json").read_text("utf-8"))
    assert summary["complete"] is True
    assert summary["splits"]["test"]["groups"] == ["synthetic/pair02"]
    assert summary["splits"]["train"]["samples"] == 14
    stats = json.loads((meta / "generation_stats.json").read_text("utf-8"))
    assert stats["samples_by_camera"] == {"4": 15, "52": 15}
    assert stats["samples_by_split"] == {"test": 16, "train": 14}
    assert stats["dropped_by_reason"] == {"skip frame": 2}
    assert stats["scenes_by_model"] == {"initial": 4}
    with (meta / "dropped_samples.csv").open(encoding="utf-8") as stream:
        dropped = list(csv.DictReader(stream))
    assert [(row["scene"], row["reason"]) for row in dropped] == [(shards.name, "skip frame")] * 2
    assert "repair it" in (meta / "generation_config.yaml").read_text("utf-8")
    report = (shards.dataset / "report.md").read_text("utf-8")
    assert "| synthetic_pair01_hug | synthetic/pair01 | train | 6 | 2 |" in report
    assert "| 52 | 15 |" in report
    assert "| test | 16 | synthetic/pair02 |" in report


def test_the_same_shards_give_the_same_bytes(shards, monkeypatch):
    """Merged again over the old one, and by a plan that names the scenes in another order."""
    assert shards.aggregate() == 0
    first = shards.contents(shards.dataset)
    assert shards.aggregate() == 0
    assert shards.contents(shards.dataset) == first
    plan = plan_of(shards, reversed(shards.scenes))
    monkeypatch.setenv("TS_PLAN_FILE", str(plan))
    assert shards.aggregate() == 0
    assert shards.contents(shards.dataset) == first
    left = [path.name for path in shards.dataset.parent.iterdir()]
    assert left == ["difix_data"]


def test_exactly_the_scenes_of_the_plan_are_merged(shards, monkeypatch):
    """Shards that another launch left there are not."""
    chosen = (shards.scenes[0], shards.scenes[3])
    monkeypatch.setenv("TS_PLAN_FILE", str(plan_of(shards, chosen)))
    assert shards.aggregate() == 0
    rows = lines(shards.dataset / "manifests" / "all_samples.jsonl")
    assert {row["scene"] for row in rows} == set(chosen)


def test_a_plan_of_another_experiment_is_refused(shards, monkeypatch, capsys):
    """So is one that can't be read."""
    monkeypatch.setenv("TS_PLAN_FILE", str(plan_of(shards, shards.scenes, "other")))
    assert shards.aggregate() == 2
    assert "is of experiment other, not: exp" in capsys.readouterr().err
    monkeypatch.setenv("TS_PLAN_FILE", str(shards.results / "no_plan.json"))
    assert shards.aggregate() == 2
    assert "can't be read as a plan" in capsys.readouterr().err


def test_every_shard_that_is_not_right_is_named(shards, monkeypatch, capsys):
    """Missing, unfinished and foreign at once; the existing data set is unchanged."""
    assert shards.aggregate() == 0
    before = shards.contents(shards.dataset)
    hug, wave, dance, talk = shards.scenes
    monkeypatch.setenv("TS_PLAN_FILE", str(plan_of(shards, shards.scenes)))
    shutil.rmtree(shards.shard_folder(hug))
    (shards.shard_folder(wave) / "shard.json").unlink()
    assert shards.generate(f"{KEY}.frame_stride=2", name=dance) == 0
    samples = sorted((shards.shard_folder(talk) / "samples").iterdir())
    shutil.rmtree(samples[0])
    capsys.readouterr()
    assert shards.aggregate() == 1
    said = capsys.readouterr().err
    assert "4 of 4 shards can't be merged" in said
    assert f"{hug}: missing: no folder" in said
    assert f"{wave}: unfinished: {shards.shard_folder(wave)} has no shard.json" in said
    assert f"{dance}: foreign: {KEY}.frame_stride 2 (here 1)" in said
    assert f"{talk}: unfinished: no folder of {samples[0].name}" in said
    assert shards.contents(shards.dataset) == before


def test_removing_one_shard_fails_naming_the_scene(shards, monkeypatch, capsys):
    """Nothing is written."""
    monkeypatch.setenv("TS_PLAN_FILE", str(plan_of(shards, shards.scenes)))
    shutil.rmtree(shards.shard_folder(shards.scenes[2]))
    assert shards.aggregate() == 1
    assert shards.scenes[2] in (said := capsys.readouterr().err)
    assert f"{KEY}.allow_partial=true" in said
    assert not shards.dataset.exists()
    assert list(shards.dataset.parent.iterdir()) == []


def test_allow_partial_goes_on_and_lists_what_was_left_out(shards, monkeypatch):
    """The summary and the report list it with the reason."""
    monkeypatch.setenv("TS_PLAN_FILE", str(plan_of(shards, shards.scenes)))
    (shards.shard_folder(shards.scenes[2]) / "shard.json").write_bytes(b'{"half')
    assert shards.aggregate(f"{KEY}.allow_partial=true") == 0
    summary = json.loads((shards.dataset / "manifests/split_summary.json").read_text("utf-8"))
    assert summary["complete"] is False
    [left_out] = summary["left_out"]
    assert (left_out["scene"], left_out["kind"]) == (shards.scenes[2], "unfinished")
    assert summary["splits"]["test"]["scenes"] == [shards.scenes[3]]
    assert f"left out**: {shards.scenes[2]}" in (shards.dataset / "report.md").read_text("utf-8")


def test_two_shards_with_one_sample_id_are_an_error(shards, capsys):
    """A copied shard, a sample added by hand that another scene has, one id twice."""
    hug, wave, dance, talk = shards.scenes
    one = shards.shard(hug)
    (shards.shard_folder(wave) / "shard.json").write_text(json.dumps(one), encoding="utf-8")
    mixed = shards.shard(dance)
    samples = [*mixed["samples"], one["samples"][0]]
    edit(shards.shard_folder(dance) / "shard.json", samples=samples)
    twice = shards.shard(talk)["samples"]
    edit(shards.shard_folder(talk) / "shard.json", samples=[*twice, twice[0]])
    assert shards.aggregate() == 1
    said = capsys.readouterr().err
    assert f"{wave}: foreign: scene '{hug}' (here '{wave}')" in said
    shared = one["samples"][0]["sample_id"]
    assert f"{dance}: foreign: sample id {shared} is in the shard of {hug} too" in said
    assert f"{talk}: foreign: one sample id twice: {twice[0]['sample_id']}" in said
    assert hug not in [line.split(":")[0].strip() for line in said.splitlines()]


def test_samples_named_as_before_are_merged(shards):
    """Version 0.1.0 wrote rccam where shards now, and those of other trainers, have rcam."""
    name = shards.scenes[0]
    folder = shards.shard_folder(name)
    samples = shards.shard(name)["samples"]
    for sample in samples:
        new, old = sample["sample_id"], sample["sample_id"].replace("__rcam", "__rccam")
        assert old != new
        (folder / "samples" / new).rename(folder / "samples" / old)
        edit(folder / "samples" / old / "meta.json", sample_id=old)
        sample["sample_id"] = old
    edit(folder / "shard.json", samples=samples)
    assert shards.aggregate() == 0
    merged = json.loads((shards.dataset / "difix" / "data.json").read_text("utf-8"))
    assert {sample["sample_id"] for sample in samples} <= merged["train"].keys()


def test_a_shard_of_another_group_or_version_is_foreign(shards, capsys):
    """This run's patterns decide about the group."""
    edit(shards.shard_folder(shards.scenes[0]) / "shard.json", group="pair07")
    edit(shards.shard_folder(shards.scenes[1]) / "shard.json", schema_version=2)
    assert shards.aggregate() == 1
    said = capsys.readouterr().err
    assert "group 'synthetic/pair07' (here 'synthetic/pair01')" in said
    assert "schema_version 2 (here 1)" in said


def test_a_test_group_that_no_scene_belongs_to_is_a_fault(shards, capsys):
    """Exit status 2 with the groups that exist."""
    assert shards.aggregate(f"{KEY}.test_groups=[pair02,pair09]") == 2
    said = capsys.readouterr().err
    assert "no scene belongs to: pair09" in said
    assert "synthetic/pair01, synthetic/pair02" in said
    assert shards.aggregate(f"{KEY}.test_groups=[synthetic/pair01]") == 0
    summary = json.loads((shards.dataset / "manifests/split_summary.json").read_text("utf-8"))
    assert summary["splits"]["test"]["groups"] == ["synthetic/pair01"]


def test_an_experiment_without_shards_says_where_it_looked(difix, capsys):
    """It also says how to make some."""
    assert difix.aggregate() == 2
    assert "no scene of this experiment has DiFix data" in (said := capsys.readouterr().err)
    assert "run_mode=difix_data_generation_generate" in said


def test_shards_without_any_sample_are_no_data_set(difix, capsys):
    """Everything was dropped: the scenes' tables have the reasons."""
    assert difix.generate(f"{KEY}.min_mask_coverage=1.0") == 0
    assert difix.aggregate(f"{KEY}.min_mask_coverage=1.0") == 1
    assert "no shard has a sample" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["full", "sigterm"])
def test_an_ending_in_the_middle_leaves_the_old_data_set(shards, monkeypatch, capsys, ending):
    """After a full disk or SIGTERM, nothing unfinished is left beside it."""
    assert shards.aggregate() == 0
    before = shards.contents(shards.dataset)
    validate_config, done = merge_shards.check_shard, []

    def ends(*at):
        done.append(1)
        if len(done) == 2 and ending == "full":
            raise OSError(28, "No space left on device")
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate_config(*at)

    monkeypatch.setattr(merge_shards, "check_shard", ends)
    assert shards.aggregate() == {"full": 1, "sigterm": 143}[ending]
    assert ("No space left on device" in capsys.readouterr().err) == (ending == "full")
    assert shards.contents(shards.dataset) == before
    assert [path.name for path in shards.dataset.parent.iterdir()] == ["difix_data"]


def test_killed_between_two_renames_the_old_data_set_comes_back(shards, capsys):
    """Even if the next aggregate fails."""
    assert shards.aggregate() == 0
    before = shards.contents(shards.dataset)
    shards.dataset.rename(shards.dataset.with_name(".difix_data.previous"))
    shutil.copytree(shards.shard_folder(), shards.dataset.with_name(".difix_data.partial"))
    (shards.shard_folder() / "shard.json").unlink()
    assert shards.aggregate() == 1
    capsys.readouterr()
    assert shards.contents(shards.dataset) == before


def test_no_scene_and_no_torch_are_needed(shards):
    """shared.scene_name is absent, or empty."""
    code = (
        "import sys; from training.simple_multi_human_trainer import main;"
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    small = "model.gaussians_per_person=250"
    results = f"shared.results_root={shards.results}"
    for more in ([], ["shared.scene_name="]):
        ended = subprocess.run(
            [sys.executable, "-c", code, *COMMAND, results, small, *more],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "16 in test, 14 in train" in ended.stdout


def test_a_data_set_without_train_is_refused_and_said_where_it_is_wanted(shards, capsys):
    """Every group is held out: nobody trains a refiner with it by accident."""
    groups = f"{KEY}.test_groups=[pair01,pair02]"
    assert shards.aggregate(groups) == 1
    assert "train is empty" in capsys.readouterr().err
    assert not shards.dataset.exists()
    assert shards.aggregate(groups, f"{KEY}.strict=false") == 0
    assert capsys.readouterr().out.rstrip().endswith("warning: train is empty")
    assert "no sample in train" in (shards.dataset / "report.md").read_text("utf-8")
