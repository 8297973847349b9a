"""One command trains a scene and writes every expected output."""

from __future__ import annotations

import csv
import json
import shutil
import signal

import numpy as np
import pytest
import yaml
from PIL import Image

from preprocess.layout import SceneFolder
from preprocess.scene_data import load_camera, load_depth, load_image, load_mask
from training.report.metrics import COLUMNS, numbers_of, used_columns

HELD_OUT = [16, 52, 76]


def table(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_scene_is_trained_evaluated_and_exported(tiny_scene, capsys):
    """Images and poses are better than before training, and every expected file is there."""
    shown = "train.evaluation.eval_animation_frames=3"
    assert tiny_scene.train("train.optimization.epochs=12", shown) == 0
    output, metrics = tiny_scene.output(), tiny_scene.metrics()
    written = yaml.safe_load((output / "config.yaml").read_text())
    assert written["train"]["optimization"]["epochs"] == 12
    assert written["shared"]["exp_name"] == "exp"
    numbers = numbers_of(metrics)
    columns = used_columns([numbers])
    assert {each.key for each in columns} <= {each.key for each in COLUMNS}
    assert metrics["psnr"] > metrics["before"]["psnr"] + 1
    assert metrics["mpjpe_mm"] < 0.8 * metrics["before"]["mpjpe_mm"]
    assert metrics["smpl_mpjpe_mm"] == pytest.approx(metrics["mpjpe_mm"], rel=1e-3)
    assert metrics["held_out_cameras"] == HELD_OUT
    assert metrics["source_camera"] == 28
    assert metrics["iterations"] == 12 * 5
    assert metrics["novel_views"] == {"source": "rendered", "cameras": []}
    assert metrics["lpips"] is not None or "lpips_reason" in metrics
    with Image.open(output / metrics["picture"]) as picture:
        assert picture.width > 3 * 256
    for name in metrics["animations"].values():
        with Image.open(output / name) as animation:
            assert animation.n_frames == 3
    images = table(output / "evaluation" / "images_epoch_0012.csv")
    frames = [frame for frame in range(1, 7) if frame != tiny_scene.skipped]
    seen = {(int(row["camera"]), int(row["frame"])) for row in images}
    assert seen == {(camera, frame) for camera in HELD_OUT for frame in frames}
    assert len(table(output / "evaluation" / "poses_epoch_0012.csv")) == 5 * 2
    assert len(table(output / "evaluation" / "images_epoch_0000.csv")) == len(images)
    numbers = {(int(row["camera"]), int(row["frame"])): float(row["psnr"]) for row in images}
    for view in metrics["picture_views"]:
        assert view["psnr"] == pytest.approx(numbers[view["camera"], view["frame"]])
    mean = np.mean([float(row["psnr"]) for row in images])
    assert metrics["psnr"] == pytest.approx(mean)
    lines = capsys.readouterr().out.splitlines()
    progress = [json.loads(line[12:]) for line in lines if line.startswith("TS_PROGRESS ")]
    assert [line["epoch"] for line in progress] == list(range(1, 13))
    assert [line["stage"] for line in progress] == ["poses"] * 2 + ["gaussians"] * 10
    assert all(line["epochs"] == 12 and line["loss"] > 0 for line in progress)


def test_people_are_exported_as_viewers_of_3dgs_read_them(tiny_scene):
    """One .ply a person, its head up where viewers look up (y down), finite and complete."""
    posed = "train.export.posed_frames=[3]"
    assert tiny_scene.train("train.optimization.epochs=1", posed) == 0
    (everyone,) = (tiny_scene.output() / "posed").iterdir()
    assert everyone.name == "000003.ply"
    assert b"\nelement vertex 500\n" in everyone.read_bytes()[:100]
    for person in range(2):
        content = (tiny_scene.output() / f"person_{person:02d}.ply").read_bytes()
        header, _, body = content.partition(b"end_header\n")
        assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 250\n")
        names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
        assert names[:3] == ["x", "y", "z"]
        assert {"f_dc_0", "opacity", "scale_2", "rot_0", "rot_3"} <= set(names)
        values = np.frombuffer(body, dtype="<f4").reshape(250, len(names))
        assert np.isfinite(values).all()
        assert 1.0 < np.ptp(values[:, 1]) < 2.5
        head = values[values[:, 1].argmin()]  # nearest to the sky: narrow, above the middle
        assert abs(head[0]) < 0.15


def test_rendered_novel_views_are_written_as_scene_data_and_trained_on(tiny_scene):
    """Image, depth, masks and camera of each virtual camera and frame; ids from start_camera_id."""
    assert tiny_scene.train(*tiny_scene.rendered) == 0
    metrics = tiny_scene.metrics()
    assert metrics["novel_views"] == {"source": "rendered", "cameras": [100, 101]}
    folder = SceneFolder(tiny_scene.output() / "input_data")
    assert folder.cameras() == [100, 101]
    assert folder.frames(100) == [1, 2, 3, 5, 6]
    image = load_image(folder, 100, 1)
    depth, everyone = load_depth(folder, 100, 1), load_mask(folder, 100, "all", 1)
    assert image.shape == (64, 64, 3)
    assert everyone.mean() > 0.02
    assert (depth[everyone] > 1).mean() > 0.9
    first, second = (load_mask(folder, 100, person, 1) for person in range(2))
    assert (first | second == everyone).all()
    assert load_camera(folder, 100, 1).extrinsics.shape == (3, 4)
    assert not np.allclose(
        load_camera(folder, 100, 1).extrinsics, load_camera(folder, 101, 1).extrinsics
    )


def test_captured_novel_views_are_true_images_labelled_so(tiny_scene, built):
    """They come from the truth folder, and never from a held-out camera."""
    assert tiny_scene.train(*tiny_scene.captured, "train.optimization.epochs=1") == 0
    assert tiny_scene.metrics()["novel_views"] == {"source": "captured", "cameras": [4, 40, 64, 88]}
    made = SceneFolder(tiny_scene.output() / "input_data")
    true = SceneFolder(built[1] / "truth" / tiny_scene.name)
    assert made.cameras() == [4, 40, 64, 88]
    inside = load_mask(true, 40, "all", 2)
    assert (load_mask(made, 40, "all", 2) == inside).all()
    assert (load_image(made, 40, 2)[inside] == load_image(true, 40, 2)[inside]).all()


def test_a_scene_without_truth_trains_and_says_what_it_cannot_measure(tiny_scene, tmp_path):
    """Numbers are null with a reason; the picture shows the source camera."""
    scene = json.loads(tiny_scene.scene_file().read_text(encoding="utf-8"))
    del scene["raw_gt_dir_path"]
    file = tmp_path / "untrue.json"
    file.write_text(json.dumps(scene), encoding="utf-8")
    assert tiny_scene.train(f"shared.scene_file={file}", "train.optimization.epochs=1") == 0
    metrics = tiny_scene.metrics()
    assert metrics["psnr"] is None
    assert metrics["mpjpe_mm"] is None
    assert "raw_gt_dir_path" in metrics["psnr_reason"]
    assert (tiny_scene.output() / metrics["picture"]).is_file()


def test_the_second_body_space_is_evaluated_only_where_asked(tiny_scene):
    """eval_smpl=false leaves its columns out."""
    small = ("train.evaluation.pose_eval.eval_smpl=false", "train.optimization.epochs=1")
    assert tiny_scene.train(*small) == 0
    assert not [key for key in tiny_scene.metrics() if key.startswith("smpl_")]
    assert tiny_scene.metrics()["mpjpe_mm"] > 0


def test_loggers_are_off_unless_enabled(tiny_scene):
    """TensorBoard files are written with the switch, none without."""
    assert tiny_scene.train("train.optimization.epochs=1") == 0
    assert not (tiny_scene.output() / "tensorboard").exists()
    switched = ("shared.tensorboard.enable=true", "train.optimization.epochs=1")
    assert tiny_scene.train(*switched, exp_name="tracked") == 0
    assert list((tiny_scene.output("tracked") / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("images/28/000002.jpg", "not a whole picture"),
        ("smplx/000003.npz", "not a whole .npz"),
        ("all_cameras/28/000001.npz", "is empty"),
    ],
)
def test_a_broken_file_ends_the_run_with_its_name(tiny_scene, tmp_path, capsys, broken, said):
    """Exit status 2 and one line, no traceback."""
    data = tmp_path / "scenes"
    shutil.copytree(tiny_scene.data, data)
    path = data / tiny_scene.name / broken
    content = path.read_bytes()
    path.write_bytes(b"" if "empty" in said else content[: len(content) // 2])
    assert tiny_scene.train(f"shared.scene_data_root={data}") == 2
    error = capsys.readouterr().err
    assert broken in error
    assert said in error
    assert "Traceback" not in error


def test_results_that_cannot_be_written_end_the_run_with_the_reason(tiny_scene, tmp_path, capsys):
    """Exit status 1, naming the path."""
    blocked = tmp_path / "results"
    blocked.write_text("a file where a folder should be", encoding="utf-8")
    assert tiny_scene.train() == 1
    assert str(blocked) in capsys.readouterr().err


def test_sigterm_saves_a_checkpoint_and_ends_with_143(tiny_scene, tmp_path):
    """A real process, started from another folder, in which it leaves nothing."""
    long = ("train.optimization.epochs=400", "train.optimization.checkpoint_every_epoch=400")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = tiny_scene.start(*long, cwd=elsewhere)
    next(line for line in process.stdout if line.startswith("TS_PROGRESS"))
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (143, "")
    assert tiny_scene.checkpoint()["position"]["epoch"] >= 1
    assert not list(elsewhere.iterdir())
