"""Plan, fingerprint and record hold what a configuration comes to, not how it is written."""

from __future__ import annotations

import json

import pytest

from training.plan.experiments import read_plan
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import LaunchOptions

CONFIG = """
rate: ${oc.decode:${oc.env:LAB_RATE,0.1}}
prior: ${oc.env:LAB_PRIOR,none}
token: ${oc.env:LAB_TOKEN,none}
shared:
  scene_name: ???
  exp_name: ???
"""
SCRIPT = """
import os, pathlib, json, sys
given = dict(each.split("=", 1) for each in sys.argv[1:])
names = ("TS_SCENE_NAME", "TS_EXP_NAME", "LAB_RATE")
folder = pathlib.Path(os.environ["TS_RESULTS_ROOT"]).joinpath(*map(os.environ.get, names[:2]))
text = json.dumps({**given, **{name: os.environ.get(name) for name in names}})
folder.joinpath("seen.json").write_text(text)
"""


@pytest.fixture
def script(lab, monkeypatch):
    """Another trainer with a configuration that reads variables; returns the flags."""
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)
    lab.add_scene("a_1")
    (lab.root / "mine.py").write_text(SCRIPT)
    (lab.root / "mine.yaml").write_text(CONFIG)
    return {
        "train_script": str(lab.root / "mine.py"),
        "train_config": str(lab.root / "mine.yaml"),
        "scenes_dir": str(lab.scenes_dir),
        "exp_name": "exp",
        "dry_run": True,
    }


def planned(flags):
    (scene,) = make_plan(LaunchOptions(**flags)).scenes
    return scene


@pytest.mark.parametrize(("name", "value"), [("LAB_RATE", "0.5"), ("LAB_PRIOR", "other")])
def test_a_variable_that_the_configuration_reads_decides(script, monkeypatch, name, value):
    """In the fingerprint by its value, and handed to the job, whatever that would have had."""
    before = planned(script)
    monkeypatch.setenv(name, value)
    after = planned(script)
    assert after.fingerprint != before.fingerprint
    assert (name in before.environment, after.environment.get(name)) == (False, value)


def test_a_file_that_a_variable_names_decides_by_its_content(script, lab, monkeypatch):
    """Moved it is the same, edited it is another."""
    prior = lab.root / "prior.npz"
    prior.write_text("1")
    monkeypatch.setenv("LAB_PRIOR", str(prior))
    before = planned(script)
    monkeypatch.setenv("LAB_PRIOR", str(prior.rename(lab.root / "moved.npz")))
    assert planned(script).fingerprint == before.fingerprint
    (lab.root / "moved.npz").write_text("2")
    assert planned(script).fingerprint != before.fingerprint


def test_a_variable_does_not_win_over_a_root_of_the_plan(script, lab, monkeypatch):
    """train.yaml reads TS_RESULTS_ROOT, but --results-root was given."""
    monkeypatch.setenv("TS_RESULTS_ROOT", "/elsewhere")
    own = {key: script[key] for key in ("scenes_dir", "exp_name", "dry_run")}
    scene = planned({**own, "results_root": str(lab.root / "results")})
    assert scene.environment["TS_RESULTS_ROOT"] == str(lab.root / "results")


def test_the_record_says_what_was_trained(script, lab):
    """Resolved, by dotted key, without secrets; the plan's file has it once for all scenes."""
    lab.add_scene("a_2")
    lab.environment |= {"LAB_RATE": "0.25", "LAB_TOKEN": "abc"}
    flags = ("--train-script", script["train_script"], "--train-config", script["train_config"])
    result = lab.call(*flags, "--run-all", stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("a_1", "a_2"):
        configuration = lab.record(name)["configuration"]
        assert configuration["rate"] == 0.25
        assert configuration["prior"] == "none"
        assert json.loads((lab.output(name) / "seen.json").read_text())["LAB_RATE"] == "0.25"
    (file,) = (lab.root / "state" / "plans").glob("*.json")
    text = file.read_text()
    assert "abc" not in text + json.dumps(lab.record("a_1"))
    assert text.count('"prior"') == text.count("python training/run.py") == 1
    assert lab.record("a_2")["attempts"][0]["launch_command"].endswith("--run-all")
    assert [scene.configuration for scene in read_plan(file).scenes] == [configuration] * 2


def test_scenes_that_differ_keep_their_own_configuration(script, lab):
    """`${shared.scene_name}` in a value: the plan's file has it in each scene."""
    lab.add_scene("a_2")
    (lab.root / "mine.yaml").write_text(CONFIG + "name: run_${shared.scene_name}\n")
    plan = make_plan(LaunchOptions(**script, run_all=True))
    read = Plan.model_validate_json(plan.to_json())
    assert [scene.configuration["name"] for scene in read.scenes] == ["run_a_1", "run_a_2"]


@pytest.mark.usefixtures("lab")
def test_equal_is_not_the_same_in_the_file(script):
    """A scene with 1 and one with 1.0 or true each keep theirs."""
    plan = make_plan(LaunchOptions(**script, run_all=True))
    (scene,) = plan.scenes
    values = [1, 1.0, True]
    scenes = tuple(scene.model_copy(update={"configuration": {"v": value}}) for value in values)
    read = Plan.model_validate_json(plan.model_copy(update={"scenes": scenes}).to_json())
    assert [repr(each.configuration["v"]) for each in read.scenes] == ["1", "1.0", "True"]


@pytest.mark.usefixtures("lab")
def test_other_programs_find_a_scene_in_the_file_of_a_plan_of_one(script):
    """What the merge of DiFix data reads, and whoever else reads TS_PLAN_FILE."""
    plan = make_plan(LaunchOptions(**script, run_all=True))
    (scene,) = json.loads(plan.to_json())["scenes"]
    assert (scene["name"], scene["exp_name"]) == ("a_1", plan.exp_name)
    assert scene["output"] == str(plan.scenes[0].output)


@pytest.mark.parametrize(
    ("scene", "experiment", "given"),
    [("00_hug", "2026-11-29", "2026-11-29"), ("1e_hug", "20261129", "'20261129'")],
)
def test_names_arrive_as_they_are(script, lab, scene, experiment, given):
    """In variables always; as arguments with quotes only where Hydra would read a number."""
    lab.add_scene(scene)
    flags = ("--train-script", script["train_script"], "--scene-name-includes", scene)
    result = lab.call(*flags, "--exp-name", experiment, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads((lab.output(scene, experiment) / "seen.json").read_text())
    assert (seen["TS_SCENE_NAME"], seen["TS_EXP_NAME"]) == (scene, experiment)
    assert (seen["shared.scene_name"], seen["shared.exp_name"]) == (scene, given)
