"""One scene's shard: its content, what is left out and why, and how a rerun continues."""

from __future__ import annotations

import csv
import errno
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from preprocess.layout import SceneFolder
from preprocess.scene_data import SceneDataError, load_image, load_mask
from training.trainer.difix import true_views

KEY = "difix_data_generation"
CAMERAS = f"{KEY}.target_cameras"


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def own_data(difix, tmp_path):
    """Copy the scenes' data, to be damaged; return its truth folder and its root."""
    shutil.copytree(difix.data, tmp_path / "own")
    return SceneFolder(tmp_path / "own" / "truth" / difix.name), tmp_path / "own"


def test_a_shard_has_every_camera_and_frame(shards, difix_built):
    """Render, true image and source view of one size; ids, counts, the skipped frame's reason."""
    folder, shard = shards.shard_folder(), shards.shard()
    name, frames = shards.name, (1, 2, 4)
    ids = [
        f"{name}__tcam{camera}__rcam28__tf{frame:06d}__rf{frame:06d}"
        for frame in frames
        for camera in (4, 52)
    ]
    assert [sample["sample_id"] for sample in shard["samples"]] == ids
    assert sorted(path.name for path in (folder / "samples").iterdir()) == sorted(ids)
    assert (shard["dataset"], shard["group"], shard["exp_name"]) == ("synthetic", "pair01", "exp")
    assert shard["configuration"]["model"] == {"source": "initial"}
    assert shard["statistics"] == {
        "samples": 6,
        "samples_by_camera": {"4": 3, "52": 3},
        "dropped": 2,
        "dropped_by_reason": {"skip frame": 2},
    }
    true = SceneFolder(difix_built[1] / "truth" / name)
    source = SceneFolder(difix_built[1] / name)
    for sample in shard["samples"]:
        at = folder / "samples" / sample["sample_id"]
        camera, frame = sample["target_camera"], sample["target_frame"]
        meta = json.loads((at / "meta.json").read_text("utf-8"))
        assert {key: meta[key] for key in sample} == sample
        assert sorted(path.name for path in at.iterdir()) == [
            "image.png",
            "meta.json",
            "ref_image.jpg",
            "target_image.jpg",
        ]
        drawn, target, reference = (
            pixels(at / sample[key]) for key in ("image", "target_image", "ref_image")
        )
        assert drawn.shape == target.shape == reference.shape == (64, 64, 3)
        inside = load_mask(true, camera, "all", frame)
        assert sample["mask_coverage"] == pytest.approx(inside.mean(), abs=1e-6)
        assert np.abs(target - load_image(true, camera, frame))[inside].mean() < 6
        assert (target[~inside] > 200).mean() > 0.98
        assert np.abs(reference - load_image(source, 28, frame)).mean() < 3
        covered = (drawn < 192).any(-1)
        assert (covered & inside).sum() > 0.6 * inside.sum()
        assert (covered & ~inside).sum() < 0.7 * inside.sum()


def test_a_contact_sheet_shows_render_target_and_reference(shards):
    """Three columns, and a row for each shown sample."""
    with Image.open(shards.shard_folder() / "contact_sheet.png") as sheet:
        assert sheet.width > 3 * 256
        assert sheet.height > 6 * 256


def test_the_trained_checkpoint_is_rendered_where_there_is_one(difix):
    """Its epoch and digest are in the shard, its colours in the images; training is untouched."""
    assert difix.generate() == 0
    first = difix.shard_folder() / "samples" / difix.shard()["samples"][0]["sample_id"]
    grey = pixels(first / "image.png")
    assert difix.train("train.optimization.epochs=4", name=difix.name) == 0
    before = difix.contents(difix.output(name=difix.name) / "checkpoints")
    assert difix.generate(f"{KEY}.require_checkpoint=true") == 0
    model = difix.shard()["configuration"]["model"]
    assert (model["source"], model["epoch"]) == ("checkpoint", 4)
    assert model["digest"].startswith("sha256:")
    assert np.ptp(grey, axis=-1).max() == 0
    assert np.ptp(pixels(first / "image.png"), axis=-1).max() > 20
    assert difix.contents(difix.output(name=difix.name) / "checkpoints") == before


def test_a_checkpoint_that_is_required_and_missing_is_a_fault(difix, capsys):
    """Exit status 2 with the remedy; nothing is written."""
    assert difix.generate(f"{KEY}.require_checkpoint=true") == 2
    assert "no trained checkpoint" in (said := capsys.readouterr().err)
    assert "run_mode=train" in said
    assert not difix.results.exists()


def test_a_damaged_checkpoint_is_never_taken_for_none(difix, capsys):
    """Exit status 1; the file stays where it is."""
    path = difix.output(name=difix.name) / "checkpoints" / "last.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 half a checkpoint")
    assert difix.generate() == 1
    assert "last.pt is damaged" in capsys.readouterr().err
    assert path.exists()
    assert not difix.shard_folder().exists()


def test_a_checkpoint_of_another_model_or_other_data_is_refused(difix, tmp_path, capsys):
    """Keys are named with both values; poses of other frames would be rendered in wrong places."""
    assert difix.train("train.optimization.epochs=1", name=difix.name) == 0
    assert difix.generate("model.background=0.5", "train.optimization.epochs=9") == 2
    assert "another model.background: 1.0 then, 0.5 now" in (said := capsys.readouterr().err)
    assert "epochs" not in said
    _, data = own_data(difix, tmp_path)
    (data / difix.name / "skip_frames.csv").write_text("1,3", encoding="utf-8")
    assert difix.generate(f"shared.scene_data_root={data}") == 2
    assert "trained on other frames" in capsys.readouterr().err


def test_stride_limit_and_explicit_cameras_choose_the_samples(difix):
    """Every third frame of one camera; then at most one sample per camera."""
    chosen = (f"{CAMERAS}.mode=explicit", f"{CAMERAS}.ids=[52]", f"{KEY}.frame_stride=3")
    assert difix.generate(*chosen) == 0
    made = [(each["target_camera"], each["target_frame"]) for each in difix.shard()["samples"]]
    assert made == [(52, 1), (52, 4)]
    assert difix.generate(f"{KEY}.max_samples_per_camera=1") == 0
    made = [(each["target_camera"], each["target_frame"]) for each in difix.shard()["samples"]]
    assert made == [(4, 1), (52, 1)]


@pytest.mark.parametrize(
    ("ids", "said"),
    [("[50]", "a camera that synthetic_pair01_hug lacks: 50"), ("[28]", "the source camera")],
)
def test_an_explicit_camera_that_cannot_be_a_target_is_a_fault(difix, capsys, ids, said):
    """Exit status 2 with the nearest ids; nothing is written."""
    assert difix.generate(f"{CAMERAS}.mode=explicit", f"{CAMERAS}.ids={ids}") == 2
    error = capsys.readouterr().err
    assert said in error
    assert "nearest: 52, 4" in error or "nearest: 4, 52" in error
    assert not difix.results.exists()


def test_a_scene_without_truth_or_of_an_unknown_data_set_is_a_fault(difix, tmp_path, capsys):
    """Both are reported at once."""
    scene = json.loads(difix.scene_file(difix.name).read_text("utf-8"))
    del scene["raw_gt_dir_path"]
    shutil.copytree(difix.data / difix.name, tmp_path / "own" / "other_scene")
    file = tmp_path / "other_scene.json"
    file.write_text(json.dumps({**scene, "seq_name": "other_scene"}), encoding="utf-8")
    places = (f"shared.scene_file={file}", f"shared.scene_data_root={tmp_path / 'own'}")
    assert difix.generate(*places, name="other_scene") == 2
    error = capsys.readouterr().err
    assert "no camera to render towards" in error
    assert "of an unknown data set: other" in error


def test_bad_files_drop_their_samples_and_say_why(difix, tmp_path):
    """Missing, truncated and empty images, masks and cameras; the other samples are made."""
    true, data = own_data(difix, tmp_path)
    true.image(4, 1).unlink()
    cut = true.image(52, 1).read_bytes()
    true.image(52, 1).write_bytes(cut[: len(cut) // 2])
    true.mask(4, "all", 2).unlink()
    true.camera(52, 2).write_bytes(b"")
    (data / difix.name / "seg/img_seg_mask/28/all/000004.png").unlink()
    assert difix.generate(f"shared.scene_data_root={data}") == 0
    assert [each["reason"] for each in difix.shard()["dropped"]] == [
        "missing target image",
        "unreadable target image",
        "missing target mask",
        "unreadable camera",
        "skip frame",
        "skip frame",
        "missing reference mask",
        "missing reference mask",
    ]
    assert difix.shard()["samples"] == []
    with (difix.shard_folder() / "dropped_samples.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reason"] for row in rows] == [row["reason"] for row in difix.shard()["dropped"]]
    assert str(true.image(4, 1)) in rows[0]["detail"]


def test_views_of_too_little_are_left_out(difix):
    """min_mask_coverage is reported with both numbers."""
    assert difix.generate(f"{KEY}.min_mask_coverage=0.9") == 0
    dropped = [each for each in difix.shard()["dropped"] if each["reason"] != "skip frame"]
    assert [each["reason"] for each in dropped] == ["coverage too small"] * 6
    assert all("is under 0.9" in each["detail"] for each in dropped)
    assert 0.02 < float(dropped[0]["detail"].split()[0]) < 0.9


def test_a_failing_disk_fails_the_scene_instead_of_dropping_it(difix, monkeypatch, capsys):
    """An input/output error is no property of a sample."""

    def failing(*_):
        cause = OSError(errno.EIO, "Input/output error")
        raise SceneDataError("images/4/000001.jpg: Input/output error") from cause

    monkeypatch.setattr(true_views, "load_image", failing)
    assert difix.generate() == 1
    assert "Input/output error" in capsys.readouterr().err
    assert not (difix.shard_folder() / "shard.json").exists()


def test_the_limit_counts_what_is_kept(difix, tmp_path):
    """A dropped sample makes room for the next frame's; mended, it takes its place again."""
    true, data = own_data(difix, tmp_path)
    image = true.image(52, 1)
    image.rename(image.with_suffix(".away"))
    limited = (f"shared.scene_data_root={data}", f"{KEY}.max_samples_per_camera=1")
    assert difix.generate(*limited) == 0
    made = [(each["target_camera"], each["target_frame"]) for each in difix.shard()["samples"]]
    assert made == [(4, 1), (52, 2)]
    whole = difix.contents(difix.shard_folder())
    (difix.shard_folder() / "shard.json").unlink()
    assert difix.generate(*limited) == 0
    assert difix.contents(difix.shard_folder()) == whole
    image.with_suffix(".away").rename(image)
    (difix.shard_folder() / "shard.json").unlink()
    assert difix.generate(*limited) == 0
    made = {each["sample_id"]: each["target_frame"] for each in difix.shard()["samples"]}
    assert list(made.values()) == [1, 1]
    assert {path.name for path in (difix.shard_folder() / "samples").iterdir()} == made.keys()


def test_render_and_target_show_the_same_poses(difix):
    """Rendered in true poses, people cover what they cover in the target; in fitted ones less."""
    overlaps = {}
    for poses in ("truth", "fitted"):
        assert difix.generate(f"{KEY}.poses={poses}", exp_name=poses) == 0
        folder = difix.shard_folder(exp_name=poses) / "samples"
        both = [
            [(pixels(at / f"{name}").min(-1) < 192) for name in ("image.png", "target_image.jpg")]
            for at in sorted(folder.iterdir())
        ]
        overlaps[poses] = np.mean([(a & b).sum() / (a | b).sum() for a, b in both])
    assert overlaps["truth"] > overlaps["fitted"] + 0.05


def test_a_truth_without_poses_is_refused_unless_fitted_ones_are_asked_for(difix, tmp_path, capsys):
    truth, data = own_data(difix, tmp_path)
    shutil.rmtree(truth.root / "smplx")
    root = f"shared.scene_data_root={data}"
    assert difix.generate(root) == 2
    said = capsys.readouterr().err
    assert f"the truth has no body parameters: {truth.root / 'smplx'}" in said
    assert f"set {KEY}.poses=fitted" in said
    assert difix.generate(root, f"{KEY}.poses=fitted") == 0


def test_a_truth_of_other_people_is_refused(difix, tmp_path, capsys):
    truth, data = own_data(difix, tmp_path)
    for path in (truth.root / "smplx").iterdir():
        with np.load(path) as file:
            one = {name: file[name][:1] for name in file}
        np.savez(path, **one)
    assert difix.generate(f"shared.scene_data_root={data}") == 1
    assert "is of 1 people, the scene's data 2" in capsys.readouterr().err
