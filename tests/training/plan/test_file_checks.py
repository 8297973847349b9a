"""Files that a run can't use are found before the queue, by what each run mode reads."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from scene_files import placed, write_scene

from preprocess.layout import EVERYONE
from preprocess.registry import load_scenes
from training.plan.checks import refiner_data_faults
from training.system.paths import Roots
from training.trainer.config.compose import load_config
from training.trainer.scene_files import file_faults_of_all, left_out_views

EVALUATE = "run_mode=evaluate"
GENERATE = "run_mode=difix_data_generation_generate"


@pytest.fixture
def place(lab):
    """A scene with the truth of two more cameras; its data, its truth, and a way to ask."""
    lab.add_scene("hi4d_pair01_a", cam_id=28, raw_gt_dir_path="truth")
    root = lab.root / "scenes"
    data = write_scene(root / "hi4d_pair01_a", frames=(1, 2, 3))
    truth = write_scene(root / "truth", cameras=(4, 52), frames=(1, 2, 3))
    given = ("shared.scene_name=any", "shared.exp_name=exp")

    def ask(find, *overrides):
        results = f"shared.results_root={lab.root / 'results'}"
        config = load_config([*given, results, *overrides])
        return "\n".join(map(str, find(config, load_scenes(lab.scenes_dir), root)))

    return lab, data, truth, ask


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_data_generation_needs_bodies_and_says_which_views_it_leaves_out(place):
    """Bodies of the scene and, in true poses, of the truth; depth and own masks are not read."""
    _, data, truth, ask = place
    for unread in (data.depth(28, 1), data.mask(28, 0, 1), truth.mask(4, 0, 1)):
        unread.unlink()
    assert ask(file_faults_of_all, GENERATE) == ask(left_out_views, GENERATE) == ""
    data.smplx(2).write_bytes(b"")
    cut(truth.smplx(3))
    cut(truth.image(52, 2))
    truth.mask(4, EVERYONE, 3).unlink()
    found = ask(file_faults_of_all, GENERATE)
    assert f"{data.smplx(2)} is empty" in found
    assert f"{truth.smplx(3)} is not a whole .npz file" in found
    fitted = ask(file_faults_of_all, GENERATE, "difix_data_generation.poses=fitted")
    assert str(truth.smplx(3)) not in fitted
    left_out = ask(left_out_views, GENERATE)
    assert "hi4d_pair01_a: views of 2 damaged files are left out" in left_out
    assert str(truth.mask(4, EVERYONE, 3)) in left_out
    stride = "difix_data_generation.frame_stride=3"
    assert ask(left_out_views, GENERATE, stride) == ""


def test_an_evaluation_reads_the_truth_of_what_was_trained_on(place):
    """Frames and cameras of the training, by its config.yaml; of an unknown one nothing."""
    lab, data, truth, ask = place
    cut(data.image(28, 1))
    cut(truth.image(4, 1))
    cut(truth.image(52, 2))
    assert ask(file_faults_of_all, EVALUATE) == ""
    config = lab.output("hi4d_pair01_a") / "config.yaml"
    placed(config).write_text("train: {optimization: {sample_every: 2}}")
    found = ask(file_faults_of_all, EVALUATE)
    assert str(truth.image(4, 1)) in found
    assert str(data.image(28, 1)) not in found, "its bodies alone are read"
    assert str(truth.image(52, 2)) not in found, "not trained on"
    frames = "train.evaluation.eval_frames=[3]"
    assert ask(file_faults_of_all, EVALUATE, frames) == ""
    data.smplx(3).unlink()
    assert str(data.smplx(3)) in ask(file_faults_of_all, EVALUATE, frames)


def test_a_damaged_training_set_of_the_refiner_is_one_fault(tmp_path):
    """A cut image, one that is gone and sizes that differ are counted; the first is shown."""
    files = ("image", "target_image", "ref_image")
    samples = {name: {key: f"{name}/{key}.png" for key in files} for name in "abcd"}
    for path in (tmp_path / path for paths in samples.values() for path in paths.values()):
        Image.new("RGB", (8, 6)).save(placed(path))
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"train": samples, "test": {}}))
    roots = Roots(results_root=tmp_path, scene_data_root=tmp_path, state_root=tmp_path)
    names = ("shared.scene_name=any", "shared.exp_name=exp")
    config = load_config([*names, f"refiner_train.dataset={data}"])
    assert refiner_data_faults(config, "exp", roots) == []
    cut(tmp_path / "a" / "image.png")
    (tmp_path / "b" / "ref_image.png").unlink()
    Image.new("RGB", (6, 6)).save(tmp_path / "c" / "target_image.png")
    (fault,) = refiner_data_faults(config, "exp", roots)
    assert f"3 of the 4 samples of {data}" in fault.what
    assert "a/image.png is not a whole picture" in fault.value
