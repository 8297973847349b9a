"""The launcher evaluates what it has trained, with the real trainer, beside the training."""

from __future__ import annotations

import json

import pytest
from difix_lab import SCENES as FOUR
from difix_lab import add_scenes

SCENES = FOUR[:3]

EVALUATE = "run_mode=evaluate"
SMALL = (
    "model.gaussians_per_person=200",
    "train.optimization.epochs=1",
    "train.evaluation.eval_animation_frames=0",
)
ONE = ("--scene-name-includes", SCENES[0], "--overrides")

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def trained(module_lab):
    """A lab with three scenes, of which one is trained."""
    add_scenes(module_lab, SCENES)
    result = module_lab.call(*ONE, *SMALL, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return module_lab


def evaluate(lab, *overrides):
    result = lab.call(*ONE, EVALUATE, *SMALL, *overrides, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_what_cannot_be_evaluated_is_found_before_anything_starts(trained):
    """Untrained scenes and cameras that a scene lacks, all at once with exit status 2."""
    wrong = "train.evaluation.eval_cameras=[5]"
    result = trained.call("--run-all", "--overrides", EVALUATE, wrong, *SMALL, stand_in=False)
    assert result.returncode == 2
    for scene in SCENES[1:]:
        assert f"{scene}/exp/checkpoints/last.pt" in result.stderr
    assert "train it first" in result.stderr
    assert "eval_cameras names a camera that the truth lacks: 5" in result.stderr
    assert not (trained.output(SCENES[0]) / "standalone_evaluation").exists()


def test_an_evaluation_has_a_record_of_its_own_and_is_done_once(trained):
    """Other frames would be another one; training's files stay, and training anew sets it aside."""
    output = trained.output(SCENES[0])
    files = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert "PSNR" in evaluate(trained)
    folder = output / "standalone_evaluation"
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], len(record["attempts"])) == ("done", 1)
    assert record["metrics"]["evaluated_frames"] == [1, 2, 3]
    assert "skipped, done" in evaluate(trained)
    other = evaluate(trained, "train.evaluation.eval_frames=[2]", "--dry-run")
    assert "another configuration" in other
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {path: path.read_bytes() for path in files} == files
    report = trained.root / "results" / "_experiments" / "exp"
    assert (report / "standalone_evaluation_report.md").is_file()
    again = trained.call(*ONE, *SMALL, "seed=1", stand_in=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "skipped" not in evaluate(trained)
    assert json.loads((folder / "metrics.json").read_text())["psnr"] != metrics["psnr"]
