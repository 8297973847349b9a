"""The commands of the reference page, as users type them today, with the real trainer.

Only --scenes-dir is added: the page's scene is not shipped, so a small one takes its place.
"""

from __future__ import annotations

import json
import subprocess

import pytest

SCENE = "hi4d_pair17_dance"
RECIPE = {"action": "dance", "people": ["ada", "ben"], "seed": 5, "frames": 3, "image_size": 48}
SHORT = "train.evaluation.eval_cameras=[4] train.evaluation.eval_animation_frames=0"

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def users_lab(module_lab):
    """A lab with the page's scene and a second one in the same registry; their data is built once.

    Each test has an experiment of its own.
    """
    for name in (SCENE, "hi4d_pair15_hug"):
        module_lab.add_scene(name, raw_gt_dir_path=f"truth/{name}", synthetic=RECIPE)
    return module_lab


def metrics(lab, exp_name: str):
    return json.loads((lab.output(SCENE, exp_name) / "metrics.json").read_text())


def run(lab, command: str):
    """Run a command line of the page, given as everything after run.py; return its output."""
    result = lab.call(*command.split(), stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_dry_run_prints_commands_only(users_lab):
    """It prints the command and creates nothing."""
    command = f"--scene-name-includes {SCENE} --exp-name my_exp --dry-run"
    out = users_lab.run(*command.split(), stand_in=False).stdout
    assert f"shared.scene_name={SCENE} shared.exp_name=my_exp" in out
    assert not users_lab.output(SCENE, "my_exp").exists()


def test_one_scene_with_hydra_overrides(users_lab):
    """With loggers and the second body space switched off, all expected outputs are there."""
    run(
        users_lab,
        f"--scene-name-includes {SCENE} --exp-name my_exp"
        " --overrides shared.wandb.enable=false train.evaluation.pose_eval.eval_smpl=false"
        " train.optimization.epochs=6",
    )
    found = metrics(users_lab, "my_exp")
    assert found["psnr"] > found["before"]["psnr"]
    assert "smpl_mpjpe_mm" not in found
    assert list(users_lab.output(SCENE, "my_exp").glob("person_*.ply"))


def test_novel_view_cameras_by_count(users_lab):
    """Five cameras from id 200 on, contiguous, with their training views as files."""
    cameras = "train.nv_generation.trn_nv_gen"
    run(
        users_lab,
        f"--scene-name-includes {SCENE} --exp-name views"
        f" --overrides {cameras}.num_cameras=5 {cameras}.start_camera_id=200"
        f" train.optimization.epochs=4 model.gaussians_per_person=200 {SHORT}",
    )
    assert metrics(users_lab, "views")["novel_views"] == {
        "source": "rendered",
        "cameras": [200, 201, 202, 203, 204],
    }
    images = users_lab.output(SCENE, "views") / "input_data" / "images"
    assert sorted(path.name for path in images.iterdir()) == ["200", "201", "202", "203", "204"]


def test_a_virtual_camera_must_not_meet_the_source_camera(users_lab):
    """The launcher refuses it before anything starts and names a free id."""
    cameras = "train.nv_generation.trn_nv_gen"
    overrides = (f"{cameras}.num_cameras=5", f"{cameras}.start_camera_id=25")
    flags = ("--run-all", "--exp-name", "clash", "--overrides", *overrides)
    result = users_lab.call(*flags, stand_in=False)
    assert result.returncode == 2
    assert result.stderr.count("28 is in 25..29") == 2


def test_run_all_trains_every_scene_and_the_printed_command_trains_alone(users_lab):
    """All scenes of the registry; pasted from a dry run, the trainer finds scene and roots."""
    one_epoch = "--overrides train.optimization.epochs=1 model.gaussians_per_person=200"
    one_epoch += f" {SHORT}"
    run(users_lab, f"--run-all --exp-name all {one_epoch}")
    assert users_lab.record(SCENE, "all")["status"] == "done"
    assert users_lab.record("hi4d_pair15_hug", "all")["status"] == "done"
    out = run(users_lab, f"--scene-name-includes {SCENE} --exp-name b --dry-run {one_epoch}")
    pasted = next(line for line in out.splitlines() if line.startswith("TS_"))
    subprocess.run(["bash", "-c", pasted], check=True, capture_output=True, cwd="/")
    assert metrics(users_lab, "b")["psnr"] == metrics(users_lab, "all")["psnr"]
