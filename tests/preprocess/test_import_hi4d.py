"""The importer of Hi4D: scenes of a folder of that shape, and what is refused."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scene_files import share_cameras, write_scene

from preprocess import import_hi4d
from preprocess.data_checks import missing_data
from preprocess.header_checks import check_headers
from preprocess.import_hi4d import main
from preprocess.registry import load_scenes
from preprocess.scene_data import training_folder, truth_folder
from preprocess.synthetic import __main__ as synthetic

OK, WRONG = 0, 2
CAMERAS = (4, 28, 52)


def write_sequence(root):
    """Write a sequence of two people in the public layout; frames 10 to 12."""
    folder = write_scene(root, CAMERAS, frames=(10, 11, 12))
    share_cameras(folder, 10)
    shapes = {"betas": 10, "global_orient": 3, "body_pose": 69, "transl": 3}
    for frame in (10, 11, 12):
        np.savez(folder.smpl(frame), **{key: np.zeros((2, n)) for key, n in shapes.items()})
    np.savez(folder.meta, mono_cam=np.array(52), genders=np.array(["female", "male"]))
    for name in ("all_cameras", "smplx", "depths"):
        shutil.rmtree(root / name)
    return folder


@pytest.fixture
def raw(tmp_path):
    """Two pairs, one with two actions, in a folder whose name is not ASCII."""
    root = tmp_path / "Hi4D größe"
    for pair, action in (("pair01", "hug01"), ("pair01", "talk01"), ("pair17", "dance17")):
        write_sequence(root / pair / action)
    return root


def run(tmp_path, *arguments):
    places = ("--scene-data-root", str(tmp_path / "data"), "--scenes-dir", str(tmp_path / "scenes"))
    return main([*map(str, arguments), *places])


@pytest.mark.parametrize("flags", [(), ("--copy",)])
def test_every_sequence_becomes_a_scene_that_can_be_trained_on(raw, tmp_path, flags):
    """Names, camera and genders of meta.npz; the files are those of RAW, as links or copies."""
    assert run(tmp_path, raw, *flags) == OK
    scenes = load_scenes(tmp_path / "scenes")
    names = ["hi4d_pair01_hug", "hi4d_pair01_talk", "hi4d_pair17_dance"]
    assert [scene.seq_name for scene in scenes] == names
    if flags:
        shutil.rmtree(raw)
    for scene in scenes:
        assert (scene.cam_id, scene.genders) == (52, ["female", "male"])
        data, truth = (
            training_folder(scene, tmp_path / "data"),
            truth_folder(scene, tmp_path / "data"),
        )
        assert missing_data(scene, tmp_path / "data", with_depth=False) == []
        assert check_headers(data, 52, [10, 11, 12], "smpl") == []
        assert data.cameras() == [52]
        assert truth.cameras() == list(CAMERAS)
        assert (data.root / "images/52").is_symlink() == (not flags)


def test_a_chosen_camera_and_one_pair(raw, tmp_path):
    assert run(tmp_path, raw / "pair17", raw / "pair01" / "hug01", "--cam-id", 4) == OK
    assert [scene.cam_id for scene in load_scenes(tmp_path / "scenes")] == [4, 4]


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_made(raw, tmp_path, capsys):
    """Missing cameras, folders, frames, an array of another shape, a folder that is none."""
    hug, talk, dance = (raw / part for part in ("pair01/hug01", "pair01/talk01", "pair17/dance17"))
    (hug / "cameras/rgb_cameras.npz").unlink()
    kept = np.load(talk / "cameras/rgb_cameras.npz")
    np.savez(talk / "cameras/rgb_cameras.npz", **{key: kept[key][:2] for key in kept})
    shutil.rmtree(talk / "seg/img_seg_mask/4")
    (dance / "smpl/000011.npz").unlink()
    (dance / "seg/img_seg_mask/52/1/000012.png").unlink()
    (talk / "meta.npz").write_bytes(b"PK\x03\x04 cut")
    path = dance / "smpl/000010.npz"
    np.savez(path, **dict(np.load(path), betas=np.zeros(3)))
    assert run(tmp_path, raw, tmp_path / "nowhere") == WRONG
    said = capsys.readouterr().err
    for text in (
        f"{hug / 'cameras/rgb_cameras.npz'}: not there",
        "rgb_cameras.npz has no camera 52; it has 4, 28",
        "img_seg_mask/4/all: no masks of camera 4",
        "1 of 3 frames lack SMPL parameters: 11",
        "1 of 3 frames lack mask 1: 12",
        f"{talk / 'meta.npz'}: genders can't be read",
        "000010.npz: betas is float64 (3,)",
        "nowhere is no part of Hi4D: not a folder",
    ):
        assert text in said
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "scenes").exists()


def test_frames_that_lack_something_are_left_out_where_that_is_wanted(raw, tmp_path):
    (raw / "pair17/dance17/smpl/000011.npz").unlink()
    assert run(tmp_path, raw / "pair17", "--skip-missing") == OK
    (scene,) = load_scenes(tmp_path / "scenes")
    assert training_folder(scene, tmp_path / "data").skip_frames() == {11}


def test_what_exists_is_not_overwritten(raw, tmp_path, capsys):
    """Neither data nor a scene file; the other sequences are not imported either."""
    assert run(tmp_path, raw / "pair17") == OK
    before = (tmp_path / "scenes/hi4d_pair17_dance.json").read_bytes()
    assert run(tmp_path, raw, "--cam-id", 4) == WRONG
    said = capsys.readouterr().err
    assert f"exists already: {tmp_path / 'data/hi4d_pair17_dance'}" in said
    assert "nothing is overwritten" in said
    assert (tmp_path / "scenes/hi4d_pair17_dance.json").read_bytes() == before
    assert not (tmp_path / "data/hi4d_pair01_hug").exists()


@pytest.mark.parametrize("flags", [(), ("--copy",)])
def test_the_same_command_again_imports_only_what_is_new(raw, tmp_path, capsys, flags):
    """After an interruption, and when further pairs have come."""
    assert run(tmp_path, raw / "pair17", *flags) == OK
    capsys.readouterr()
    assert run(tmp_path, raw, *flags) == OK
    said = capsys.readouterr().out
    assert "hi4d_pair17_dance: imported before" in said
    assert "2 scenes imported" in said


@pytest.mark.parametrize(
    ("flags", "step"), [((), 1), ((), 2), (("--copy",), 1), (("--copy",), 2), (("--copy",), 3)]
)
def test_an_import_that_was_killed_anywhere_is_made_again(raw, tmp_path, monkeypatch, flags, step):
    """After each folder and the scene file: the same command needs no cleaning."""
    steps, rename = itertools.count(1), Path.rename

    def killed(path, target):
        rename(path, target)
        if next(steps) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    assert run(tmp_path, raw / "pair17", *flags) == 130
    monkeypatch.undo()
    assert run(tmp_path, raw / "pair17", *flags) == OK
    (scene,) = load_scenes(tmp_path / "scenes")
    data = training_folder(scene, tmp_path / "data")
    assert check_headers(data, 52, [10, 11, 12], "smpl") == []
    assert run(tmp_path, raw / "pair17", "--cam-id", 4) == WRONG, "what is whole is not replaced"


def test_a_file_that_cannot_be_copied_is_named(raw, tmp_path, capsys):
    """With the reason: shutil collects them in one error without a file's name."""
    (raw / "pair17/dance17/smpl/extra.npz").symlink_to("gone")
    assert run(tmp_path, raw / "pair17", "--copy") == WRONG
    said = capsys.readouterr().err
    assert "dance17/smpl/extra.npz: " in said
    assert "No such file" in said


@pytest.mark.parametrize(
    ("command", "work"), [(import_hi4d, "_make"), (synthetic, "ensure_scene_data")]
)
def test_ctrl_c_ends_with_130_and_no_traceback(raw, tmp_path, monkeypatch, command, work):
    def interrupted(*_args, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, work, interrupted)
    names = [str(raw), "--scenes-dir", str(tmp_path)] if command is import_hi4d else []
    root = ["--scene-data-root", str(tmp_path / "data")]
    assert command.main([*names, *root]) == 130


def test_a_dry_run_makes_nothing(raw, tmp_path, capsys):
    assert run(tmp_path, raw, "--dry-run") == OK
    assert "hi4d_pair17_dance: camera 52, 3 frames, female and male" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


def test_names_that_clash_or_name_no_scene_are_refused(raw, tmp_path, capsys):
    shutil.copytree(raw / "pair17/dance17", raw / "pair17_2/dance17")
    shutil.copytree(raw / "pair17/dance17", raw / "pair17/tänze17")
    assert run(tmp_path, raw) == WRONG
    said = capsys.readouterr().err
    assert "would be one scene: hi4d_pair17_dance" in said
    assert "gives no name of a scene: hi4d_pair17_tänze" in said


def test_the_scene_file_says_where_everything_is(raw, tmp_path):
    assert run(tmp_path, raw / "pair17") == OK
    assert json.loads((tmp_path / "scenes/hi4d_pair17_dance.json").read_text("utf-8")) == {
        "seq_name": "hi4d_pair17_dance",
        "cam_id": 52,
        "raw_gt_dir_path": str(raw / "pair17/dance17"),
        "video_path": str(raw / "pair17/dance17/images/52"),
        "ref_frame_idx": 0,
        "genders": ["female", "male"],
    }
