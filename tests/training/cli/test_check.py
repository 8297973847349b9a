"""`training-scheduler check`: which scenes it looks at, what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from scene_files import write_scene

from training.cli import check
from training.cli.check import command

OK, WRONG = 0, 2


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three scenes with data, whose truth is in the same folders; folders of unicode names."""
    for name in ("RESULTS", "STATE", "SCENE_DATA"):
        monkeypatch.setenv(f"TS_{name}_ROOT", str(tmp_path / f"äöü {name.lower()}"))
    (tmp_path / "scenes").mkdir()
    for name in ("pair01_hug", "pair01_talk", "pair02_hug"):
        scene = {"seq_name": name, "cam_id": 28, "raw_gt_dir_path": name}
        (tmp_path / "scenes" / f"{name}.json").write_text(json.dumps(scene))
        write_scene(tmp_path / "äöü scene_data" / name, cameras=(4, 28))
    return tmp_path


def run(place, *arguments):
    return command([*arguments, "--scenes-dir", str(place / "scenes"), "--read", "headers"])


def test_all_scenes_are_checked_and_summed_up(place, capsys):
    assert run(place, "--all") == OK
    out = capsys.readouterr().out
    assert out.count(": ok; camera 28, 2 frames, 2 people; truth: 2 cameras, 1 evaluated with") == 3
    assert "3 scenes, 0 with faults" in out
    assert "--read frames also compares" in out


def test_a_scene_that_is_not_built_was_not_read(place, capsys):
    """And is not called ok; others beside it are read."""
    scene = {"seq_name": "synthetic_new", "cam_id": 28, "synthetic": {}}
    (place / "scenes" / "synthetic_new.json").write_text(json.dumps(scene))
    assert run(place, "synthetic_new") == OK
    out = capsys.readouterr().out
    assert "synthetic_new: not built yet: python -m preprocess.synthetic" in out
    assert "1 scene, 0 with faults, 1 not built yet; nothing was read\n" in out
    assert run(place, "--all") == OK
    assert "4 scenes, 0 with faults, 1 not built yet; headers, cam" in capsys.readouterr().out


def test_parts_of_names_choose_scenes(place, capsys):
    assert run(place, "hug") == OK
    out = capsys.readouterr().out
    assert "pair01_hug: ok" in out
    assert "pair02_hug: ok" in out
    assert "talk" not in out


def test_all_faults_of_scenes_and_their_files_are_said_at_once(place, capsys):
    """A scene file that is no JSON, a missing mask, an empty file; below the scene's folder."""
    (place / "scenes" / "broken.json").write_text('{"seq_name": "zü')
    data = place / "äöü scene_data"
    (data / "pair01_hug/seg/img_seg_mask/28/1/000002.png").unlink()
    (data / "pair02_hug/smplx/000001.npz").write_bytes(b"")
    (data / "pair02_hug/images/4/000001.jpg").write_bytes(b"GIF89a")
    assert run(place, "--all") == WRONG
    out = capsys.readouterr().out
    assert "broken.json is not JSON" in out
    assert "    seg/img_seg_mask/28/1/000002.png: No such file or directory" in out
    assert "    smplx/000001.npz is empty" in out
    assert "    images/4/000001.jpg is not a whole picture" in out
    assert "pair01_talk: ok" in out
    assert "3 scenes, 2 with faults" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no scene is named\n    -> name some, or say --all"),
        (["pair01_hugg"], "did you mean pair01_hug"),
        (["--all", "hug"], "--all and names of scenes"),
        (["--all", "--overrides", "train.optimisation.epochs=1"], "optimisation"),
    ],
)
def test_wrong_arguments_end_with_status_2(place, capsys, arguments, said):
    assert run(place, *arguments) == WRONG
    assert said in capsys.readouterr().err


def test_many_scenes_are_shared_among_processes(place, capsys, monkeypatch):
    """What they find comes in order."""
    monkeypatch.setattr(check, "MOST_ALONE", 1)
    monkeypatch.setattr(check.os, "sched_getaffinity", lambda _process: {0, 1})
    assert run(place, "--all") == OK
    out = capsys.readouterr().out
    names = [line.split(":")[0] for line in out.splitlines() if ": ok" in line]
    assert names == ["pair01_hug", "pair01_talk", "pair02_hug"]
