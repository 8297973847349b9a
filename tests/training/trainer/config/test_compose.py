"""A wrong command is refused at once, in words of train.yaml, before torch is loaded."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Literal, get_args, get_origin

import pytest
import yaml

from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT
from training.configuration.run_modes import RUN_MODES
from training.simple_multi_human_trainer import FUNCTIONS, main
from training.trainer.cameras.strategies import STRATEGIES
from training.trainer.config.compose import CONFIG_FILE, load_config
from training.trainer.config.schema import Config, Section
from training.trainer.refiner.weights import PACKAGES

REQUIRED = ("shared.scene_name=a", "shared.exp_name=b")
VIEWS = "train.nv_generation.trn_nv_gen"


def faults(*overrides, required=REQUIRED):
    with pytest.raises(FaultsError) as caught:
        load_config([*required, *overrides])
    return str(caught.value)


def leaves(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        name: value
        for key, inner in node.items()
        for name, value in leaves(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def test_the_configuration_is_printed_as_hydra_does(capsys):
    """--cfg job: composed, as it is written; with --resolve its values; faults as elsewhere."""
    assert main(["--cfg", "job", "seed=3"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["seed"], printed["shared"]["scene_name"]) == (3, "???")
    assert "oc.env:TS_SCENE_FILE" in printed["shared"]["scene_file"]
    assert main([*REQUIRED, "-c", "job", "--resolve"]) == 0
    assert "a.json" in yaml.safe_load(capsys.readouterr().out)["shared"]["scene_file"]
    assert main(["--cfg", "job", "sed=3"]) == 2
    assert "did you mean seed" in capsys.readouterr().err


def test_a_plain_reader_of_yaml_sees_what_hydra_composes():
    """The launcher reads train.yaml without Hydra where nothing is overridden."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONFIG_FILE.parent), version_base=None):
        composed = OmegaConf.to_container(compose(CONFIG_FILE.stem), resolve=False)
    plain = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    assert leaves(plain) == leaves(composed)
    assert {key: type(value) for key, value in leaves(plain).items()} == {
        key: type(value) for key, value in leaves(composed).items()
    }


def test_every_key_is_explained_where_it_stands():
    """Each key with a value follows a comment of its own or shares its neighbour's."""
    lines = CONFIG_FILE.read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        name, _, value = line.strip().partition(": ")
        if value and not name.startswith(("#", "-")):
            explained = before.strip().startswith("#") or ": ${oc.env" in before
            assert explained, line


def choices(section=Config, prefix=""):
    """Every key of the schema that takes one of several words, with these words."""
    found = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= choices(field.annotation, f"{prefix}{name}.")
        elif get_origin(field.annotation) is Literal:
            found[prefix + name] = get_args(field.annotation)
    return found


def comment_of(key):
    """The comment lines right above a key of train.yaml."""
    text = CONFIG_FILE.read_text(encoding="utf-8")
    node = yaml.compose(text)
    for part in key.split("."):
        at, node = next((at, inner) for at, inner in node.value if at.value == part)
    above = reversed(text.splitlines()[: at.start_mark.line])
    return " ".join(itertools.takewhile(lambda line: line.strip().startswith("#"), above))


@pytest.mark.parametrize(("key", "words"), choices().items())
def test_every_choice_is_named_in_the_comment_of_its_key(key, words):
    """A run mode or a camera strategy that is added is explained in train.yaml, too."""
    assert [word for word in words if word not in comment_of(key)] == []


def test_the_schema_offers_the_strategies_and_run_modes_of_their_tables():
    """So nothing can be chosen that does not exist, and nothing exists that can't be chosen."""
    strategies = choices()[f"{VIEWS}.runtime_camera.strategy"]
    assert set(strategies) == set(STRATEGIES)
    assert set(choices()["run_mode"]) == set(RUN_MODES)
    assert {mode.function for mode in RUN_MODES.values()} == set(FUNCTIONS)


@pytest.mark.parametrize(
    "key",
    [
        "run_mode",
        "shared.wandb.enable",
        "train.optimization.epochs",
        "train.evaluation.pose_eval.eval_smpl",
        f"{VIEWS}.num_cameras",
        f"{VIEWS}.start_camera_id",
        f"{VIEWS}.runtime_camera.strategy",
        "difix_data_generation.target_cameras.mode",
        "difix_data_generation.frame_stride",
        "difix.trn_enable",
    ],
)
def test_the_keys_that_users_know_are_there(key):
    """The reference page names these."""
    assert key in leaves(yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8")))


def test_all_faults_come_at_once_each_with_its_remedy():
    """A misspelt key, no '=', a wrong type and a missing name."""
    said = faults(
        "train.optimisation.epochs=3",
        "train.optimization.epochs",
        "seed=five",
        required=("shared.scene_name=a",),
    )
    assert "'train.optimisation.epochs=3'\n    -> did you mean train.optimization.epochs?" in said
    assert "'train.optimization.epochs'\n    -> write key=value" in said
    assert "'seed=five'\n    -> expected a whole number" in said
    assert "shared.exp_name is missing\n    -> add shared.exp_name=NAME" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (f"{VIEWS}.runtime_camera.strategy=static_orbti", "did you mean static_orbit?"),
        (f"{VIEWS}.source=capturd", "did you mean captured?"),
        ("train.optimization.epochs=0", "greater than or equal to 1"),
        ("train.optimization.learning_rate.color=-1", "greater than or equal to 0"),
        ("train.optimization.learning_rate.color=inf", "finite"),
        ("train.evaluation.held_out_cameras=[a]", "expected a valid integer"),
        ("train.evaluation.eval_frames=alll", "eval_frames has a wrong value: 'alll'\n    -> did"),
        ("train.evaluation.eval_frames=0", "greater than or equal to 1"),
        ("train.evaluation.eval_cameras=[]", "at least 1 item"),
        ("train.evaluation.eval_cameras=[a]", "eval_cameras has a wrong value: ['a']"),
        ("seed=4294967296", "less than 4294967296"),
        (f"{VIEWS}.runtime_camera.up=[0,0,0]", "expected a direction, not [0,0,0]"),
        (f"{VIEWS}.runtime_camera.up=[0,inf,0]", "finite"),
        ("model.gaussians_per_person=many", "valid: auto, or expected a valid integer"),
        ("+train.more=1", "train.yaml has no such key"),
        ("train.optimization.pose_epochs=60", "60 of 50"),
        ("difix.trn_enable=true", "source=rendered, difix.trn_enable=true"),
        (f"{VIEWS}.source=refined", "set both or neither"),
        ("difix_data_generation.target_cameras.mode=explicit", "no camera is named"),
        ("difix_data_generation.target_cameras.ids=[4]", "set difix_data_generation.target"),
        ("difix_data_generation.datasets.hi4d.group_pattern='('", "not a regular expression"),
        ("difix_data_generation.datasets.hi4d.group_pattern=pair", "with one (group)"),
        ("difix_data_generation.test_groups=pair15", "expected a valid list"),
        ("run_mode=trian", "did you mean train?"),
        ("difix.model_id=${nowhere}", "nowhere"),
        ("shared.exp_name=../up", "leave out .."),
        ("shared.exp_name=..", "leave out .."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(override, said):
    """One fault each."""
    assert said in faults(override)


def test_a_direction_that_is_up_can_be_given():
    """As the comment of its key says."""
    names = ("shared.scene_name=a", "shared.exp_name=b")
    config = load_config([*names, f"{VIEWS}.runtime_camera.up=[0,-1,0.5]"])
    assert config.train.nv_generation.trn_nv_gen.runtime_camera.up == [0, -1, 0.5]


def test_novel_views_that_would_come_too_late_are_refused():
    """nv_gen_epoch lies beyond the last epoch."""
    said = faults(f"{VIEWS}.num_cameras=2", "train.nv_generation.nv_gen_epoch=50")
    assert "50 of 50 epochs" in said


@pytest.mark.parametrize("name", ["12", "007", "v1_data", "a b", "ü", "a=b", "a,b", "a#b%c"])
def test_any_experiment_name_arrives_unchanged(name):
    """It is quoted for Hydra as the launcher does; whole numbers need no quotes."""
    text = name if name == "12" else f"'{name}'"
    config = load_config(["shared.scene_name=a", f"shared.exp_name={text}"])
    assert config.shared.exp_name == name
    assert config.output.name == name


def test_folders_come_from_the_environment(monkeypatch):
    """TS_… variables decide; relative paths start at the checkout."""
    monkeypatch.setenv("TS_RESULTS_ROOT", "/data/results")
    assert str(load_config(REQUIRED).output) == "/data/results/a/b"
    monkeypatch.delenv("TS_RESULTS_ROOT")
    assert load_config(REQUIRED).output == CHECKOUT / "outputs" / "results" / "a" / "b"


def test_few_epochs_need_no_other_key():
    """Stages and novel views follow the number of epochs."""
    config = load_config([*REQUIRED, "train.optimization.epochs=1", f"{VIEWS}.num_cameras=2"])
    assert (config.pose_epochs, config.nv_gen_epoch) == (0, 0)


@pytest.mark.parametrize(
    "key", ["train.evaluation", "seed", "run_mode", "shared.exp_name", "model"]
)
def test_a_needed_key_that_an_override_removes_is_named_alone(key):
    """Not with the whole section around it as its value."""
    assert faults(f"~{key}") == (
        f"{key} is missing\n    -> the trainer needs it: leave out the override that removes it"
    )


def test_a_wrong_command_ends_with_2_before_torch_is_imported(tiny_scene):
    """There is no traceback, the faults are on standard error, and nothing is written."""
    code = (
        "import sys; from training.simple_multi_human_trainer import main;"
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    wrong = tiny_scene.arguments("seed=five", "train.optimization.ephocs=2")
    ended = subprocess.run(
        [sys.executable, "-c", code, *wrong],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "did you mean train.optimization.epochs" in ended.stderr
    assert "wrong type for seed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert not tiny_scene.results.exists()


def test_scene_and_data_faults_come_together(tiny_scene, tmp_path, capsys):
    """A scene of real data that is not there, whose truth is not there either."""
    file = tmp_path / "away.json"
    scene = {"seq_name": "away", "cam_id": 28, "raw_gt_dir_path": "nowhere/away"}
    file.write_text(json.dumps(scene), encoding="utf-8")
    assert tiny_scene.train(f"shared.scene_file={file}", name="away") == 2
    error = capsys.readouterr().err
    assert str(tiny_scene.data / "away") in error
    assert str(tiny_scene.data / "nowhere" / "away") in error


def test_a_synthetic_scene_that_is_not_built_says_how(tiny_scene, tmp_path, capsys):
    """The command that builds it."""
    assert tiny_scene.train(f"shared.scene_data_root={tmp_path}") == 2
    assert f"python -m preprocess.synthetic {tiny_scene.name}" in capsys.readouterr().err


def test_an_unknown_scene_names_the_nearest(tiny_scene, capsys):
    """From the files beside it."""
    file = tiny_scene.registry / "tiny_scen.json"
    assert tiny_scene.train(f"shared.scene_file={file}", name="tiny_scen") == 2
    assert "did you mean tiny_scene?" in capsys.readouterr().err


def test_a_refiner_that_is_not_installed_is_a_fault(tiny_scene, capsys, monkeypatch):
    """Which packages are missing, and the way out."""
    monkeypatch.setitem(PACKAGES, "diffusers", ("no_such_package",))
    assert tiny_scene.train(f"{VIEWS}.source=refined", "difix.trn_enable=true") == 2
    assert "needs packages: no_such_package" in capsys.readouterr().err


def test_the_refiner_without_weights_is_refused(tiny_scene, capsys, monkeypatch, tmp_path):
    """A folder that holds no model."""
    monkeypatch.setitem(PACKAGES, "diffusers", ())
    monkeypatch.setattr("training.trainer.refiner.weights._is_cached", lambda _: False)
    refined = (f"{VIEWS}.source=refined", "difix.trn_enable=true", f"difix.model_id={tmp_path}")
    assert tiny_scene.train(*refined) == 2
    assert "has no weights here" in capsys.readouterr().err


def test_a_tracker_that_is_not_installed_is_refused(tiny_scene, capsys, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert tiny_scene.train("shared.wandb.enable=true") == 2
    assert "pip install wandb" in capsys.readouterr().err
