"""`run_mode=evaluate` measures a trained model again and touches nothing that training wrote."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from PIL import Image

from preprocess.registry import load_scenes
from training.trainer.evaluation import run_reports
from training.trainer.termination import TrainingError
from training.viewer.viewed_scene import load_scene

pytestmark = pytest.mark.training


@pytest.fixture
def trained(tiny_scene):
    """The tiny scene, trained for a moment."""
    assert tiny_scene.train() == 0
    return tiny_scene


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluated(scene, *overrides):
    assert scene.train("run_mode=evaluate", *overrides) == 0
    folder = scene.output() / "standalone_evaluation"
    return folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_the_same_views_give_the_same_numbers_as_training_s_last_evaluation(trained):
    """In a folder of its own: metrics, tables and a picture; training's files stay."""
    before = files_below(trained.output())
    folder, metrics = evaluated(trained)
    theirs = trained.metrics()
    same = ("psnr", "ssim", "mpjpe_mm", "mve_mm", "psnr_true_poses", "people", "evaluated_frames")
    assert {key: metrics[key] for key in same} == {key: theirs[key] for key in same}
    assert (metrics["epoch"], metrics["scene"]) == (3, trained.name)
    with Image.open(folder / metrics["picture"]) as picture:
        assert picture.width > 3 * 256
    for kind in ("images", "people", "poses"):
        assert (folder / "evaluation" / f"{kind}_epoch_0003.csv").is_file()
    after = files_below(trained.output())
    assert {path: after[path] for path in before} == before
    assert_the_viewer_shows(trained, folder / "evaluation" / "images_epoch_0003.csv")


def assert_the_viewer_shows(scene, table):
    """Compare what the viewer loads with a table of PSNR; without an experiment it is untrained.

    Then have it refuse a damaged checkpoint.
    """
    registered = load_scenes(scene.registry)[0]
    loaded = load_scene(registered, "exp", scene.results, scene.data)
    with table.open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    camera, index = int(row["camera"]), loaded.frames.index(int(row["frame"]))
    view = loaded.readers[camera].view(camera, index)
    shown = run_reports.shown_render(loaded.models["after"], view, loaded.config)
    assert shown.psnr == pytest.approx(float(row["psnr"]))
    assert (loaded.use_of(28), loaded.use_of(camera), loaded.epoch) == ("source", "held out", 3)
    untrained = load_scene(registered, "", scene.results, scene.data)
    assert (list(untrained.models), untrained.epoch) == (["before"], None)
    (scene.output() / "checkpoints" / "last.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"last\.pt is damaged: .*, or leave out --exp-name$"):
        load_scene(registered, "exp", scene.results, scene.data)


def test_other_cameras_and_frames_than_training_s(trained, capsys):
    """They are named in metrics.json, and what is not trained on can be evaluated at once."""
    chosen = ("train.evaluation.eval_cameras=[4]", "train.evaluation.eval_frames=[5,6]")
    folder, metrics = evaluated(trained, *chosen)
    assert (metrics["evaluated_cameras"], metrics["evaluated_frames"]) == ([4], [5, 6])
    with (folder / "evaluation" / "images_epoch_0003.csv").open(encoding="utf-8") as stream:
        seen = {(row["camera"], row["frame"]) for row in csv.DictReader(stream)}
    assert seen == {("4", "5"), ("4", "6")}
    lines = [line for line in capsys.readouterr().out.splitlines() if "TS_PROGRESS" in line]
    assert json.loads(lines[-1].partition(" ")[2]) == {"frames": 2, "of": 2}
    _, metrics = evaluated(trained, "train.evaluation.eval_cameras=unseen")
    assert metrics["evaluated_cameras"] == [4, 16, 40, 52, 64, 76, 88]


def test_what_was_trained_on_is_known_from_the_checkpoint(tiny_scene, capsys):
    """Captured cameras stay trained on, though the command does not name them again."""
    assert tiny_scene.train(*tiny_scene.captured, "train.optimization.epochs=1") == 0
    _, metrics = evaluated(tiny_scene, "train.evaluation.eval_cameras=unseen")
    assert metrics["evaluated_cameras"] == [16, 52, 76]
    mode = ("run_mode=evaluate", "train.evaluation.eval_cameras=[4]")
    assert tiny_scene.train(*mode) == 2
    assert "a camera that is trained on: 4" in capsys.readouterr().err
    assert tiny_scene.train("run_mode=evaluate", "train.evaluation.held_out_cameras=[88]") == 2
    assert "held_out_cameras are those of the training: [88]" in capsys.readouterr().err


def test_an_untrained_scene_is_refused_with_the_remedy(tiny_scene, capsys):
    """Nothing is created."""
    assert tiny_scene.train("run_mode=evaluate") == 2
    said = capsys.readouterr().err
    assert "the scene has no trained model" in said
    assert "run_mode=train" in said
    assert not tiny_scene.results.exists()


def test_a_scene_without_truth_is_refused(trained, tmp_path, capsys):
    """There is nothing to compare with."""
    scene = json.loads(trained.scene_file().read_text(encoding="utf-8"))
    del scene["raw_gt_dir_path"]
    file = tmp_path / "untrue.json"
    file.write_text(json.dumps(scene), encoding="utf-8")
    assert trained.train("run_mode=evaluate", f"shared.scene_file={file}") == 2
    assert "no truth to evaluate with" in capsys.readouterr().err


def test_another_model_than_the_checkpoint_s_is_refused_by_key(trained, capsys):
    """The renders would not be those that were trained."""
    assert trained.train("run_mode=evaluate", "model.background=0.5") == 2
    assert "another model.background" in capsys.readouterr().err


def test_videos_show_each_evaluated_camera(trained, monkeypatch):
    """Target beside render, a page a frame up to a bound; only where asked for."""
    monkeypatch.setattr(run_reports, "VIDEO_FRAMES", 4)
    folder, _ = evaluated(trained, "train.evaluation.eval_cameras=1")
    assert not list(folder.rglob("*.webp"))
    shutil.rmtree(folder)
    switched = ("train.evaluation.eval_cameras=1", "train.evaluation.eval_videos=true")
    folder, _ = evaluated(trained, *switched)
    (video,) = folder.rglob("*.webp")
    assert video.name == "video_camera_52_epoch_0003.webp"
    with Image.open(video) as pages:
        assert (pages.n_frames, pages.size) == (4, (128, 64))
