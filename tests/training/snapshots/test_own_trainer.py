"""The project's own trainer: train.yaml, its modules and assets are those of the plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scene_files import write_scene

CHECKOUT = Path(__file__).resolve().parents[3]
TRAIN = """\
def _train(config: Config, requests: SignalRequests) -> None:
    import json, os, time
    from training.trainer.losses import __file__ as losses
    from preprocess.roots import under_checkout
    config.output.joinpath("ready.txt").touch()
    while not config.output.parent.parent.joinpath("go.txt").exists():
        time.sleep(0.02)
    for name in ("metrics.json", "checkpoints/last.pt", "person_0.ply", "evaluation/a.png"):
        (config.output / name).parent.mkdir(exist_ok=True)
        (config.output / name).write_text("{}")
    said = {"seed": config.seed, "losses": losses, "body": under_checkout(config.model.body_file)}
    said |= {"data": under_checkout("outputs/scenes"), "cwd": os.getcwd()}
    config.output.joinpath("said.json").write_text(json.dumps(said, default=str))


def _generate("""


@pytest.fixture
def copy(lab) -> Path:
    """A copy of the checkout whose trainer says what it uses instead of training."""
    root = lab.root / "checkout"
    root.mkdir()
    shutil.copy(CHECKOUT / "pyproject.toml", root)  # a checkout's, not an installed copy's
    for package in ("training", "preprocess"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / package, root / package, ignore=ignored)
    script = root / "training" / "simple_multi_human_trainer.py"
    before, rest = script.read_text().split("def _train(", 1)
    script.write_text(before + TRAIN + rest.split("def _generate(", 1)[1])
    for name in ("a_0", "a_1"):
        lab.add_scene(name)
        write_scene(lab.root / "scenes" / name)
    return root


def test_an_edited_default_of_train_yaml_and_edited_source_change_no_waiting_scene(
    lab, copy, eventually
):
    """Code and assets are the snapshot's; folders of data are the checkout's, as the cwd is."""
    program = (str(copy / "training" / "run.py"),)
    launch = lab.popen("--run-all", "--workers", "1", program=program, stand_in=False)
    ready = eventually(lambda: list(lab.root.glob("results/*/exp/ready.txt")), "a trainer", 120)
    config = copy / "training" / "configs" / "train.yaml"
    planned = config.read_text()
    assert "\nseed: 0" in planned
    config.write_text(planned.replace("\nseed: 0", "\nseed: 7"))
    for source in ("training/simple_multi_human_trainer.py", "training/trainer/losses.py"):
        (copy / source).write_text("raise SystemExit('edited')\n")
    (lab.root / "results" / "go.txt").touch()
    out, err = launch.communicate(timeout=120)
    assert launch.returncode == 0, out + err
    assert len(ready) == 1
    (snapshot,) = [path for path in (lab.root / "state/snapshots").iterdir() if path.is_dir()]
    for name in ("a_0", "a_1"):
        said = json.loads((lab.output(name) / "said.json").read_text())
        assert said == {
            "seed": 0,
            "losses": str(snapshot / "training/trainer/losses.py"),
            "body": str(snapshot / "preprocess/assets/body.npz"),
            "data": str(copy / "outputs/scenes"),
            "cwd": str(copy),
        }
