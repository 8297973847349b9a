"""The settings of a sweep: Hydra's values, short names, and what is refused before a start."""

from __future__ import annotations

import pytest

from preprocess.faults import FaultsError
from training.configuration.overrides import compose, compose_all
from training.plan.experiments import find_experiment
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import LaunchOptions, checked_options
from training.plan.sweep import parameters_of, settings_of, shortest_tails
from training.plan.train_script import OWN_CONFIG
from training.records.record import RunRecord, write_record


def settings(*sweep, overrides=(), config=None):
    return settings_of(sweep, overrides, config)


def names(*sweep):
    return [each.name for each in settings(*sweep)]


@pytest.mark.parametrize(
    "sweep",
    [
        ("a.epochs=30,50", "seed=1,2,3"),
        ("a=range(0,1,0.25)", "b=range(3)"),
        ("a=x,'y,z',null", "b=sort(3,1,2)", "c=1"),
        ("a=sort(range(3),reverse=true)", "+new.key=[1,2],{x:1}"),
    ],
)
def test_combinations_are_hydras_in_its_order(sweep):
    """The same overrides as Hydra's own sweeper makes of them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = [OverridesParser.create().parse_override(text) for text in sweep]
    (theirs,) = BasicSweeper.split_arguments(parsed, None)
    assert [list(each.overrides) for each in settings(*sweep)] == theirs


def test_shuffled_values_are_all_there():
    assert sorted(names("a=shuffle(range(5))")) == [f"a={number}" for number in range(5)]


def test_a_glob_names_the_options_of_a_group(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("small", "large"):
        (tmp_path / "model" / f"{name}.yaml").write_text("layers: 1")
    config = tmp_path / "app.yaml"
    config.write_text("defaults: [model: small]\n")
    found = settings("model=glob(*)", config=config)
    assert [each.name for each in found] == ["model=large", "model=small"]


@pytest.mark.parametrize(
    ("keys", "tails"),
    [
        (["train.optimization.epochs", "seed"], ["epochs", "seed"]),
        (["a.x.n", "a.y.n"], ["x.n", "y.n"]),
        (["seed", "train.seed"], ["seed", "train.seed"]),
    ],
)
def test_a_key_is_named_by_its_shortest_ending_of_its_own(keys, tails):
    assert shortest_tails([key.split(".") for key in keys]) == tails


def test_names_are_safe_and_short():
    """No quotes, slashes or spaces; a long one keeps its beginning and is told apart."""
    assert names("a='x y'", "b=[0.1,2]", "c=/tmp/z") == ["a=x_y,b=0.1_2,c=tmp_z"]
    first, second = names("z=1", f"a={'l' * 150},{'l' * 151}", "b=2")
    assert first.startswith("z=1,others=")
    assert first != second
    assert parameters_of(first).keys() == parameters_of(second).keys() == {"z", "others"}


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (["seed=1,1"], "a value twice: seed=1"),
        (["lr=0.001,1e-3"], "a value twice: lr=0.001"),
        (["a='x y',x_y"], "would share the folder x_y"),
        (["seed=1,2", "seed=3"], "names a key twice: seed"),
        (["seed=range(200)", "x=range(200)"], "too many combinations: 80,000"),
        (["x=shuffle(range(1000000000))"], "at least 20,002"),
        (["x=range(1,5,0)"], "Hydra can't list the values"),
        (["x=range(5,5)"], "no value"),
        (["x=interval(0,1)"], "no values to try one by one"),
        (["shared.exp_name=a,b"], "use --exp-name"),
        (["run_mode=train,evaluate"], "one command for each run mode"),
        (["~seed"], "give it to --overrides"),
        (["seed"], "has no '='"),
        (["seed=1,(2"], "can't be parsed"),
        (["group=glob(*)"], "can't list the values"),
        (["fixed=1,2"], "in --sweep and in --overrides: fixed"),
    ],
)
def test_what_no_sweep_can_be_is_refused(sweep, words):
    with pytest.raises(FaultsError, match=r".*") as caught:
        settings("other=1,2", *sweep, overrides=("+fixed=0",))
    assert words in str(caught.value)


def test_all_faults_of_a_sweep_are_shown_at_once():
    with pytest.raises(FaultsError) as caught:
        settings("a=interval(0,1)", "b=1,1", "run_mode=train", "seed=(")
    assert len(caught.value.faults) == 4


def test_plain_values_are_set_as_hydra_sets_them():
    """What is composed once and changed is what Hydra composes for each, faults included."""
    given = [
        ("seed=2", "train.optimization.lr=null", "device=cpu"),
        ("seed=3", "train.optimization.lr=1e-3", "device='${run_mode}'"),
        ("seed=x", "train.optimization.lr=1", "device=cuda"),
        ("seed=4", "+shared.new=1", "device=cuda"),
        ("seed=5", "train.optimization.train_params=[means]", "sed=1"),
    ]
    common = ("train.optimization.epochs=3",)
    for variant, found in zip(given, compose_all(OWN_CONFIG, common, given), strict=True):
        assert found == compose(OWN_CONFIG, (*common, *variant)), variant


def test_a_swept_key_that_the_common_overrides_remove_is_refused():
    given = [("train.evaluation.eval_videos=true",), ("train.evaluation.eval_videos=false",)]
    first, _ = compose_all(OWN_CONFIG, ("~train.evaluation",), given)
    assert "Hydra refuses" in str(first.faults[0])


@pytest.fixture
def plan(lab, monkeypatch):
    """Make the plan of a sweep in this lab, as a dry run of the project's own trainer."""
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)

    def make(*sweep, **more):
        given = {"exp_name": "sw", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
        given |= {"run_all": True, "sweep": sweep, **more}
        return make_plan(checked_options(LaunchOptions, given))

    for name in ("a_1", "a_2"):
        lab.add_scene(name)
    return make


def test_each_setting_is_an_experiment_of_its_own(lab, plan):
    """Name, folder, command and fingerprint; the plan's file gives the same plan again."""
    made = plan("train.optimization.epochs=30,50", "seed=1,2")
    assert [scene.name for scene in made.scenes][:3] == [
        "epochs=30,seed=1/a_1",
        "epochs=30,seed=1/a_2",
        "epochs=30,seed=2/a_1",
    ]
    first = made.scenes[0]
    assert first.exp_name == first.environment["TS_EXP_NAME"] == "sw/epochs=30,seed=1"
    assert first.environment["TS_SCENE_NAME"] == first.scene_name == "a_1"
    assert first.output == lab.root / "results/a_1/sw/epochs=30,seed=1"
    assert first.command[-3:] == (
        "shared.exp_name='sw/epochs=30,seed=1'",
        "train.optimization.epochs=30",
        "seed=1",
    )
    assert len({scene.fingerprint for scene in made.scenes}) == 8
    text = made.to_json()
    assert Plan.model_validate_json(text).scenes == made.scenes
    assert text.count('"train.optimization.epochs":') == 4  # once for each setting


def test_a_setting_is_skipped_as_a_scene_is(plan):
    """What its record says is done is done, whatever else is swept by then."""
    done = plan("seed=1,2").scenes[2]
    for name in ("point_cloud.ply", "metrics.json"):
        done.output.mkdir(parents=True, exist_ok=True)
        (done.output / name).write_text("{}")
    record = RunRecord(
        scene="a_1", exp_name=done.exp_name, fingerprint=done.fingerprint, status="done"
    )
    write_record(done.output, record)
    reasons = {scene.name: scene.reason for scene in plan("seed=1,2,3").scenes}
    assert reasons["seed=2/a_1"] == "outputs are gone"  # found by its record
    assert reasons["seed=2/a_2"] == reasons["seed=3/a_1"] == "new"


def faults(plan, *sweep, **more):
    with pytest.raises(FaultsError) as caught:
        plan(*sweep, **more)
    return [str(fault) for fault in caught.value.faults]


def test_a_wrong_combination_is_named(plan):
    found = faults(
        plan, "train.optimization.epochs=2,30", "train.optimization.pose_epochs=1,3,9", "seed=1"
    )
    assert len(found) == 2
    assert "epochs=2,pose_epochs=3,seed=1: train.optimization.pose_epochs" in found[0]
    (of_all,) = faults(plan, "seed=1,2", overrides=("train.optimization.pose_epochs=99",))
    assert of_all.startswith("train.optimization.pose_epochs is more")
    (unknown,) = set(faults(plan, "sed=1"))
    assert "did you mean seed" in unknown


def test_merging_and_loops_are_refused(plan):
    assert "merges no data" in faults(
        plan, "seed=1,2", overrides=("run_mode=difix_data_generation_generate",)
    )[0]  # fmt: skip


def test_a_name_is_a_sweeps_or_another_experiments(lab, plan):
    """Their folders would lie inside each other."""
    for folder, sweep, words in (
        ("plain", ("seed=1",), "no sweep: plain"),
        ("swept/seed=1", (), "the name of a sweep: swept"),
    ):
        output = lab.root / "results/a_1" / folder
        output.mkdir(parents=True)
        (output / "run.json").write_text("{}")
        name = folder.partition("/")[0]
        assert words in faults(plan, *sweep, exp_name=name)[0]
        assert words in faults(plan, *sweep, exp_name=name, scenes=("a_2",))[0]
    assert "names a setting" in faults(plan, exp_name="sw/seed=1")[0]


def test_a_queued_sweep_without_records_keeps_its_name(plan):
    """By its plan, until that is cancelled; then `--status` shows the scenes of the new one."""
    queued = plan("seed=1,2")
    queued.file.parent.mkdir(parents=True)
    queued.file.write_text(queued.to_json())
    assert plan("seed=3").scenes
    assert "the name of a sweep: sw" in faults(plan)[0]
    queued.cancelled.touch()
    later = plan()
    later.file.write_text(later.to_json())
    assert "no sweep: sw" in faults(plan, "seed=1")[0]
    assert find_experiment("sw", later.roots).scenes == ["a_1", "a_2"]
