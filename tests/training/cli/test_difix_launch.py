"""One command makes the refiner's training set on this machine, with the real trainer."""

from __future__ import annotations

import itertools
import shutil

import pytest
from difix_lab import FLAGS, add_scenes, check_whole, dataset, manifests, record
from difix_lab import SCENES as FOUR

SCENES = FOUR[:3]

TRAIN = ("--scene-name-includes", SCENES[0], "--overrides", "train.optimization.epochs=1")

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def generated(module_lab):
    """A lab in which the command has run once, and a copy of its results."""
    add_scenes(module_lab, SCENES)
    result = module_lab.call(*FLAGS, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    shutil.copytree(module_lab.root / "results", module_lab.root / "results_copy")
    return module_lab


@pytest.fixture
def made(generated):
    """The lab as the first command has left it."""
    shutil.rmtree(generated.root / "results")
    shutil.copytree(generated.root / "results_copy", generated.root / "results")
    return generated


def test_shards_that_were_killed_or_deleted_are_generated_again(made, eventually):
    """The same command after kill -9, or after a shard was deleted, gives the same bytes."""
    check_whole(made)
    before = manifests(made)
    shutil.rmtree(dataset(made))
    deleted, killed, kept = SCENES
    shutil.rmtree(made.output(killed))
    launcher = made.popen(*FLAGS, stand_in=False)
    samples = made.output(killed) / "difix_data" / "samples"
    eventually(lambda: samples.is_dir() and any(samples.iterdir()), "a sample")
    launcher.kill()
    launcher.communicate()
    assert not dataset(made).exists()
    (made.output(deleted) / "difix_data" / "shard.json").unlink()
    again = made.call(*FLAGS, stand_in=False)
    assert again.returncode == 0
    assert again.stdout.count("skipped, done") == 1
    assert manifests(made) == before
    attempts = {name: len(record(made, name)["attempts"]) for name in SCENES}
    assert attempts == {deleted: 2, killed: 2, kept: 1}


def test_a_trained_scene_keeps_its_model_and_is_rendered_with_it(made):
    """Training and generation don't set each other's outputs aside; the shard is made anew."""
    small = ("model.gaussians_per_person=200", "train.evaluation.eval_animation_frames=0")
    result = made.call(*TRAIN, *small, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    model = made.output(SCENES[0]) / "checkpoints" / "last.pt"
    content = model.read_bytes()
    result = made.call(*FLAGS, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("skipped, done") == len(SCENES) - 1
    assert "done with another configuration: again" in result.stdout
    assert model.read_bytes() == content
    check_whole(made)


def test_a_test_group_that_matches_nothing_is_found_before_anything_starts(lab):
    """Exit status 2 and the existing groups; likewise the aggregate given as a run mode."""
    add_scenes(lab)
    result = lab.call(*FLAGS, "difix_data_generation.test_groups=[pair09]", stand_in=False)
    assert result.returncode == 2
    assert "pair09" in result.stderr
    assert "pair01" in result.stderr
    mode = ("--run-all", "--overrides", "run_mode=difix_data_generation_aggregate")
    result = lab.call(*mode, stand_in=False)
    assert result.returncode == 2
    assert "runs once for all scenes" in result.stderr
    assert not (lab.root / "results").exists()


def test_cameras_that_scenes_lack_and_missing_models_are_found_before_anything_starts(lab):
    """All are listed by scene, with the nearest cameras; exit status 2 and nothing is created."""
    add_scenes(lab)
    key = "difix_data_generation"
    named = (f"{key}.target_cameras.mode=explicit", f"{key}.target_cameras.ids=[99]")
    for scene, camera in itertools.product(SCENES, (4, 28, 52)):
        (lab.root / "scenes" / "truth" / scene / "images" / str(camera)).mkdir(parents=True)
    result = lab.call(*FLAGS, *named, f"{key}.require_checkpoint=true", stand_in=False)
    assert result.returncode == 2
    for scene in SCENES:
        assert f"names a camera that {scene} lacks: 99" in result.stderr
        assert f"{scene}/exp/checkpoints/last.pt" in result.stderr
    assert "nearest: 52, 4" in result.stderr
    assert not (lab.root / "results").exists()
