"""What a plan for Slurm says, and what is refused while it is made; no Slurm needed."""

from __future__ import annotations

import pytest

from flows.options import FlowOptions
from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT
from training.cli.parser import parse_options
from training.jobs.array_chunks import ArrayChunk
from training.jobs.sbatch_commands import array_job
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions, checked_options, flag_name
from training.slurm.bad_nodes import BadNode, bad_nodes, note_bad_nodes

STAND_IN = str(CHECKOUT / "tests" / "stand_in_trainer.py")
GENERATE = "run_mode=difix_data_generation_generate"


@pytest.fixture
def options(lab, monkeypatch):
    """Options of a submission in this lab, as a dry run, which needs no Slurm."""
    lab.add_scene("a_1")
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)

    def build(model=LaunchOptions, **values):
        given = {"exp_name": "exp", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
        given |= {"train_script": STAND_IN, "submit": model is LaunchOptions}
        return checked_options(model, {**given, **values})

    return build


@pytest.fixture
def site(tmp_path):
    """Write a Slurm script, and get its path."""

    def write(*lines: str) -> str:
        path = tmp_path / "site.slurm"
        path.write_text("\n".join(["#!/bin/bash", *lines, 'exec python training/run.py "$@"']))
        return str(path)

    return write


def faults_of(options) -> str:
    with pytest.raises(FaultsError) as caught:
        make_plan(options)
    return str(caught.value)


def test_resources_come_from_the_script_and_flags_win(options, site):
    """The script's time; --slurm.time before it; names from the experiment."""
    script = site("#SBATCH --time=90:00 --gres=gpu:1")
    slurm = make_plan(options(slurm_script=script)).slurm
    assert (slurm.time_s, slurm.job_name, slurm.parallelism) == (5400, "exp", 256)
    assert "--gres=gpu:1" in slurm.script_text
    assert "#SBATCH --time=90:00\n" in slurm.light_script_text
    plan = make_plan(options(slurm_script=script, slurm_time="1-00", slurm_job_name="mine"))
    assert (plan.slurm.time_s, plan.slurm.job_name) == (86400, "mine")
    assert plan.aggregate.job_name == "mine_aggregate"
    flags = {"slurm_partition": "a100", "slurm_mem": "96G", "slurm_gpus": 2}
    flags |= {"slurm_account": "lab", "slurm_qos": "high", "slurm_script": script}
    slurm = make_plan(options(**flags)).slurm
    assert slurm.flag_options == {"account": "lab", "partition": "a100", "qos": "high"}
    assert slurm.scene_options == {"mem": "96G", "gres": "gpu:2"}


@pytest.mark.parametrize(
    "wrong", [{"slurm_partition": "a b"}, {"slurm_mem": "much"}, {"slurm_gpus": -1}]
)
def test_a_wrong_resource_is_named_by_its_flag(options, wrong):
    """Before Slurm is asked."""
    (name,) = wrong
    with pytest.raises(FaultsError, match=name.replace("slurm_", r"--slurm\.")):
        options(**wrong)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"slurm_time": "3:00:00"}, 3 * 3600 - 60),
        ({"slurm_time": "1"}, 30),
        ({"slurm_time": "2-00:00:00"}, 2 * 86400 - 60),
        ({"slurm_time": "3:00:00", "kill_grace": 600}, 3 * 3600 - 640),
        ({"slurm_time": "3:00:00", "time_limit": "1:00:00"}, 3600),
        ({"slurm_time": "3:00:00", "time_limit": "5:00:00"}, 3 * 3600 - 60),
    ],
)
def test_our_deadline_comes_before_slurms(options, values, seconds):
    """With time for the start, the grace and the record, at most half; a shorter limit counts."""
    (scene,) = make_plan(options(**values)).scenes
    assert scene.time_limit_s == seconds


def test_a_node_may_have_another_interpreter(options):
    """The commands of a plan for Slurm begin with `python`, whatever runs the launcher."""
    plan = make_plan(options(overrides=(GENERATE,)))
    assert plan.scenes[0].command[:2] == ("python", STAND_IN)
    assert plan.aggregate.command[:2] == ("python", STAND_IN)


def test_the_aggregate_of_a_generation(options, lab):
    """Its run mode, the experiment, every other override; the plan's file in its environment."""
    plan = make_plan(options(overrides=(GENERATE, "b='x, y'"), aggregate_time="20"))
    mode = "run_mode=difix_data_generation_aggregate"
    assert plan.aggregate.command[2:] == (mode, "shared.exp_name=exp", "b='x, y'")
    assert plan.aggregate.environment["TS_PLAN_FILE"] == str(plan.file)
    assert plan.aggregate.environment["TS_RESULTS_ROOT"] == lab.environment["TS_RESULTS_ROOT"]
    assert plan.aggregate.time_limit_s == 1200


def test_other_run_modes_only_summarise(options):
    """No command of the trainer's; nothing at all when it is not wanted; on this machine too."""
    assert make_plan(options()).aggregate.command == ()
    assert make_plan(options(submit=False)).aggregate.command == ()
    assert make_plan(options(auto_schedule_aggregate=False)).aggregate is None


def test_bad_nodes_of_the_last_day_are_excluded_with_a_warning(options, site):
    """Not where the script says which nodes to use, or the flag that they are forgotten."""
    root = make_plan(options()).roots.state_root
    note_bad_nodes(root, [BadNode(node="n7")])
    slurm = make_plan(options()).slurm
    assert slurm.excluded_nodes == ("n7",)
    assert "nothing could start there: n7 (" in slurm.warnings[-1]
    forgotten = make_plan(options(slurm_forget_bad_nodes=True)).slurm
    assert (forgotten.excluded_nodes, forgotten.forget_bad_nodes) == ((), True)
    script = site("#SBATCH --time=60 --nodelist=n7")
    assert make_plan(options(slurm_script=script)).slurm.excluded_nodes == ()
    assert bad_nodes(root)


def test_a_script_without_a_time_needs_the_flag(options, site):
    """Neither here nor there is a fault; so is no limit at all."""
    script = site("#SBATCH --gres=gpu:1")
    assert "--slurm.time 3:00:00" in faults_of(options(slurm_script=script))
    assert make_plan(options(slurm_script=script, slurm_time="90")).slurm.time_s == 5400
    assert "needs a time limit" in faults_of(options(slurm_script=site("#SBATCH -t UNLIMITED")))


def test_faults_of_script_and_overrides_come_at_once(options, site):
    """One message for all."""
    script = site("#SBATCH --time=banana")
    said = faults_of(options(slurm_script=script, overrides=("novalue",)))
    assert "--time=banana" in said
    assert "novalue" in said


def test_no_sbatch_is_a_fault_except_in_a_dry_run(options, monkeypatch, tmp_path):
    """A submission needs it; a dry run works on a laptop."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make_plan(options()).slurm
    assert "no sbatch" in faults_of(options(dry_run=False))


def test_flags_of_the_other_command_are_refused(options):
    """--submit is the launcher's, several scenes a job the flow's."""
    said = faults_of(options(FlowOptions, submit=True))
    assert "for the flow say --cluster slurm" in said
    assert "flows.train" in faults_of(options(slurm_scenes_per_job=2))
    shared = faults_of(options(slurm_scenes_per_gpu=2, slurm_scenes_per_job=3))
    assert "--slurm.scenes-per-gpu belongs to" in shared
    assert "--slurm.scenes-per-job belongs to" in shared
    assert "--slurm.probe belongs to" in faults_of(options(slurm_probe="never"))
    for here in (options(orphan_grace="scene"), options(orphan_grace="scene", submit=False)):
        assert "--orphan-grace belongs to python -m flows.train --cluster" in faults_of(here)
    assert "--orphan-grace belongs to" in faults_of(options(FlowOptions, orphan_grace="2:00:00"))
    assert make_plan(options(FlowOptions, cluster="slurm", slurm_scenes_per_job=2)).slurm
    plan = make_plan(options(FlowOptions, cluster="slurm", slurm_scenes_per_gpu=2))
    assert (plan.scenes_per_gpu, plan.slurm.scenes_per_job) == (2, 2)
    assert {scene.warm_start for scene in plan.scenes} == {False}


@pytest.mark.parametrize(
    "field", sorted(FlowOptions.model_fields.keys() - LaunchOptions.model_fields)
)
@pytest.mark.parametrize("more", [[], ["--exp-name", "exp"]])
def test_the_launcher_names_the_command_that_has_a_flag_of_the_flow(field, more):
    """Instead of calling it unknown; also where a required flag is missing, too."""
    flag = flag_name(field, FlowOptions)
    with pytest.raises(FaultsError, match=f"{flag} belongs to python -m flows.train"):
        parse_options([*more, flag, "job"], LaunchOptions, "launch")


@pytest.mark.parametrize(("given", "seconds"), [("", 0), ("0", 0), ("1:30", 90), ("scene", 7200)])
def test_a_scene_may_outlive_its_flow_for_as_long_as_is_said(options, given, seconds):
    """Not at all by default; `scene` is the longest that it may take."""
    plan = make_plan(
        options(FlowOptions, cluster="slurm", slurm_time="2:00:00", orphan_grace=given)
    )
    assert plan.slurm.orphan_grace_s == seconds


@pytest.mark.parametrize(("shared", "seconds"), [(1, 7200), (2, 0)])
def test_scenes_outlive_a_flow_in_a_job_of_its_own_unless_they_share_a_gpu(
    options, shared, seconds
):
    """No flow takes over a job with several: they end with it and are started again."""
    values = {"cluster": "slurm", "controller": "job", "slurm_time": "2:00:00"}
    plan = make_plan(options(FlowOptions, **values, slurm_scenes_per_gpu=shared))
    assert plan.slurm.orphan_grace_s == seconds


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"slurm_array_parallelism": 0}, "--slurm.array-parallelism"),
        ({"slurm_time": "banana"}, "--slurm.time"),
        ({"slurm_time": "0"}, "--slurm.time"),
        ({"aggregate_time": ""}, "--aggregate-time"),
        ({"time_limit": ""}, "--time-limit"),
        ({"orphan_grace": "for ever"}, "--orphan-grace"),
        ({"slurm_job_name": "a b"}, "--slurm.job-name"),
        ({"slurm_job_name": "%j"}, "--slurm.job-name"),
        ({"aggregate_job_name": "a/b"}, "--aggregate-job-name"),
    ],
)
def test_a_wrong_option_is_named(options, values, flag):
    """Before anything is planned."""
    with pytest.raises(FaultsError) as caught:
        options(**values)
    assert str(caught.value).startswith(f"{flag} is not valid")


def test_an_unknown_stage_is_refused(lab):
    """A Slurm script of another version."""
    result = lab.run(program=("training/run.py", "--in-job", "arry"))
    assert result.returncode == 2
    assert "did you mean array?" in result.stderr


def test_where_a_user_runs_by_his_environment_is_honoured_as_sbatch_does(
    options, site, monkeypatch
):
    """SBATCH_PARTITION and its like win over the script; they are part of the plan."""
    for name in ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_RESERVATION"):
        monkeypatch.setenv(name, name.lower())
    plan = make_plan(options(slurm_script=site("#SBATCH --time=5 -p other")))
    command = array_job(plan, ArrayChunk(0, 1))
    for option in ("partition", "account", "qos", "reservation"):
        assert f"--{option}=sbatch_{option}" in command
    assert not plan.warnings


def test_a_variable_of_sbatch_that_does_not_count_is_named(options, monkeypatch):
    """It would change what our command lines mean; what Slurm itself sets in a job is no news."""
    monkeypatch.setenv("SBATCH_GRES", "gpu:4")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "5")
    monkeypatch.setenv("SBATCH_MEM_BIND_LIST", "x")
    plan = make_plan(options())
    assert not any(word.startswith("--gres") for word in array_job(plan, ArrayChunk(0, 1)))
    (warning,) = plan.warnings
    assert warning.startswith("SBATCH_GRES, SBATCH_TIMELIMIT: not used")


def test_warnings_of_the_script_are_those_of_the_plan(options, site):
    """A dry run and a submission print them before anything else."""
    script = site("#SBATCH --time=5", "# SBATCH --mem=64G")
    (warning,) = make_plan(options(slurm_script=script)).warnings
    assert warning.startswith(f"{script}:3: ")


@pytest.mark.parametrize(("passes", "is_fault"), [("$@", True), ('"$@"', False)])
def test_a_script_that_would_split_a_path_at_its_space_is_refused(
    options, tmp_path, passes, is_fault
):
    """Unquoted arguments break with a state root that has a space, and only then."""
    script = tmp_path / "site.slurm"
    script.write_text(f"#!/bin/bash\n#SBATCH -t 5\npython training/run.py {passes}\n")
    assert make_plan(options(slurm_script=str(script)))
    given = options(slurm_script=str(script), state_root=str(tmp_path / "my state"))
    if is_fault:
        assert f"{script}:3: python training/run.py $@" in faults_of(given)
    else:
        assert make_plan(given)
