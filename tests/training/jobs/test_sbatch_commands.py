"""The exact sbatch command lines of a plan's jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from preprocess.roots import CHECKOUT
from training.jobs import sbatch_commands
from training.jobs.array_chunks import ArrayChunk, array_chunks
from training.plan.model import AggregatePlan, LoopStage, Plan, ScenePlan
from training.plan.slurm_model import SlurmPlan
from training.system.paths import Roots

SCRIPT = "#!/bin/bash\n#SBATCH --time=3:00:00 --exclude=bad1\ntrue\n"


def scene(name: str) -> ScenePlan:
    return ScenePlan(
        name=name,
        exp_name="exp",
        scene={},
        scene_file=Path("/s.json"),
        action="run",
        reason="new",
        command=("python",),
        environment={},
        output=Path("/results", name, "exp"),
        fingerprint="",
        expected_outputs=(),
        time_limit_s=1,
        kill_grace_s=1,
        cancelled=Path("/x"),
    )


def plan(scenes: int = 8, parallelism: int = 2, state_root: str = "/state") -> Plan:
    return Plan(
        plan_id="exp-1",
        created=datetime.now(UTC),
        exp_name="exp",
        roots=Roots(results_root="/results", scene_data_root="/data", state_root=state_root),
        scenes=tuple(scene(f"a_{number}") for number in range(scenes)),
        workers=1,
        gpus=(),
        max_retries=2,
        max_failures=0,
        aggregate=AggregatePlan(log=Path("/log"), job_name="exp_aggregate", time_limit_s=3600),
        slurm=SlurmPlan(
            script=Path("/site.slurm"),
            script_text=SCRIPT,
            light_script_text=SCRIPT,
            job_name="exp",
            time_s=3 * 3600,
            scenes_per_job=1,
            parallelism=parallelism,
        ),
    )


def common(name: str, time: str, ids: str) -> list[str]:
    return [
        "sbatch",
        "--parsable",
        f"--job-name={name}",
        f"--time={time}",
        f"--chdir={CHECKOUT}",
        f"--output=/state/slurm/exp-1/%x-{ids}.out",
        f"--error=/state/slurm/exp-1/%x-{ids}.out",
        "--open-mode=append",
    ]


def test_an_array():
    """The whole command line, word for word."""
    assert sbatch_commands.array_job(plan(), ArrayChunk(0, 8)) == [
        *common("exp", "03:00:00", "%A_%a"),
        "--array=0-7%2",
        "--requeue",
        *("/state/plans/exp-1.slurm", "--in-job", "array", "/state/plans/exp-1.json", "0"),
    ]


@pytest.mark.parametrize(
    ("scenes", "parallelism", "array"),
    [(1, 1, "0-0"), (8, 8, "0-7"), (8, 256, "0-7"), (8, 7, "0-7%7"), (1, 256, "0-0")],
)
def test_an_array_is_throttled_only_where_that_makes_a_difference(scenes, parallelism, array):
    """There is no %N for an array of at most N scenes."""
    chunk = ArrayChunk(0, scenes)
    assert f"--array={array}" in sbatch_commands.array_job(plan(scenes, parallelism), chunk)


def test_arrays_have_their_share_of_the_bound():
    """Those of one plan run side by side, so that none waits for the last scene of another."""
    bounded = plan(2500, 10)
    assert sbatch_commands.arrays_wait([bounded])
    second = sbatch_commands.array_job(bounded, array_chunks(2500, 1001, 10)[1], after_any=["12"])
    assert "--array=0-749%3" in second
    assert "--dependency=afterany:12" in second
    assert not any("invalid-dep" in word for word in second)
    assert second[-1] == "1000"
    assert not sbatch_commands.arrays_wait([plan(8, 8)])
    assert sbatch_commands.arrays_wait([plan(8, 8), plan(1, 8)])


def test_an_array_of_a_loop_is_cancelled_when_a_stage_before_it_fails():
    """Else it would stay in the queue for ever."""
    chunk = ArrayChunk(0, 8)
    command = sbatch_commands.array_job(plan(), chunk, ["12"], ["11"])
    assert "--dependency=afterok:12,afterany:11" in command
    assert "--kill-on-invalid-dep=yes" in command


def test_the_aggregate():
    """It depends on the success of all arrays, and on the end alone of a flow's jobs."""
    command = sbatch_commands.aggregate_job(plan(), ["12", "13_4"], ["20"])
    assert command == [
        *common("exp_aggregate", "01:00:00", "%j"),
        "--requeue",
        "--dependency=afterok:12:13_4,afterany:20",
        "--kill-on-invalid-dep=yes",
        *("/state/plans/exp-1.light.slurm", "--in-job", "aggregate", "/state/plans/exp-1.json"),
    ]
    alone = sbatch_commands.aggregate_job(plan(), [])
    assert not any("depend" in word or "invalid" in word for word in alone)


def test_a_flows_jobs():
    """A worker has its name, time and nodes to avoid; aggregate and probe ask for no GPU."""
    command = sbatch_commands.worker_job(plan(), "w3", ["n1", "n2"])
    assert "--job-name=exp-w3" in command
    assert "--time=03:00:00" in command
    assert "--no-requeue" in command
    assert "--exclude=bad1,n1,n2" in command  # the script's own is not hidden
    assert command[-5:] == [
        *("/state/plans/exp-1.slurm", "--in-job", "worker", "/state/plans/exp-1.json", "w3")
    ]
    assert not any(
        word.startswith("--exclude") for word in sbatch_commands.worker_job(plan(), "w3")
    )
    light = "/state/plans/exp-1.light.slurm"
    assert light in sbatch_commands.aggregate_worker_job(plan(), "aggregate")
    assert sbatch_commands.probe_job(plan())[-4:] == [
        light,
        "--in-job",
        "probe",
        "/state/plans/exp-1.json",
    ]


def test_bad_nodes_are_excluded_from_every_job():
    """Beside those of the script, or a pool's instead; not where the script says which to use."""
    given = plan()
    bad = given.slurm.model_copy(update={"excluded_nodes": ("n1", "n2")})
    given = given.model_copy(update={"slurm": bad})
    for command in (
        sbatch_commands.array_job(given, ArrayChunk(0, 8)),
        sbatch_commands.aggregate_job(given, []),
        sbatch_commands.probe_job(given, ["n2", "n3"]),
        sbatch_commands.worker_job(given, "w3", ["n2", "n3"]),
    ):
        of_pool = "--in-job probe" in " ".join(command) or "--in-job worker" in " ".join(command)
        assert f"--exclude=bad1,{'n2,n3' if of_pool else 'n1,n2'}" in command
    text = "#!/bin/sh\n#SBATCH -w n1\n"
    own = bad.model_copy(update={"script_text": text})
    assert sbatch_commands.excluded_nodes(own, ["n1"]) == ""


@pytest.mark.parametrize(
    ("per_job", "per_gpu", "parallelism", "hours", "jobs"),
    [(1, 1, 5, 3, 5), (4, 1, 5, 12, 5), (4, 4, 5, 3, 2), (6, 4, 4, 6, 1), (8, 4, 256, 6, 64)],
)
def test_a_flows_job_has_time_for_scenes_that_follow_each_other(
    per_job, per_gpu, parallelism, hours, jobs
):
    """Those that share its GPU run in the same time, and count against the scenes at once."""
    given = plan()
    slurm = given.slurm.model_copy(update={"scenes_per_job": per_job, "parallelism": parallelism})
    given = given.model_copy(update={"slurm": slurm, "scenes_per_gpu": per_gpu})
    assert f"--time={hours:02}:00:00" in sbatch_commands.worker_job(given, "w3")
    assert sbatch_commands.most_jobs(given) == jobs


def test_the_controller():
    """One CPU and no GPU, queued again when it is lost; told before its time is over."""
    assert sbatch_commands.controller_job(plan(), 24 * 3600) == [
        *common("exp_controller", "1-00:00:00", "%j"),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=2G"),
        "--requeue",
        "--signal=B:USR1@120",
        *("/state/plans/exp-1.light.slurm", "--in-job", "controller", "/state/plans/exp-1.json"),
    ]


def test_the_controller_of_a_loop_is_named_after_the_loop():
    """It runs all stages, whose own jobs have the stage in their names."""
    stage = LoopStage(name="train", after=(), loop="exp")
    slurm = plan().slurm.model_copy(update={"job_name": "exp_train"})
    first = plan().model_copy(update={"stage": stage, "slurm": slurm})
    assert sbatch_commands.controller_name(first) == "exp_controller"


def test_flags_win_over_the_environment_and_only_scenes_get_memory_and_gpus():
    """Partition, account and QOS go to every job."""
    given = plan()
    update = {
        "site_options": {"partition": "env"},
        "flag_options": {"partition": "gpu"},
        "scene_options": {"mem": "96G", "gres": "gpu:2"},
    }
    given = given.model_copy(update={"slurm": given.slurm.model_copy(update=update)})
    scenes = [
        sbatch_commands.array_job(given, ArrayChunk(0, 8)),
        sbatch_commands.worker_job(given, "w3"),
    ]
    others = [sbatch_commands.aggregate_job(given, []), sbatch_commands.probe_job(given)]
    for command in [*scenes, *others]:
        assert [word for word in command if "partition" in word] == ["--partition=gpu"]
    assert all({"--mem=96G", "--gres=gpu:2"} <= set(command) for command in scenes)
    assert not any({"--mem=96G", "--gres=gpu:2"} & set(command) for command in others)


def test_a_percent_sign_in_a_folder_is_no_placeholder():
    """Slurm replaces %j in --output."""
    command = sbatch_commands.array_job(plan(state_root="/50%j"), ArrayChunk(0, 1))
    assert "--output=/50%%j/slurm/exp-1/%x-%A_%a.out" in command
    assert "/50%j/plans/exp-1.json" in command


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "00:00:01"), (90 * 60, "01:30:00"), (90061, "1-01:01:01")]
)
def test_times_are_written_as_sbatch_reads_them(seconds, text):
    """With the days before the clock where there are any."""
    assert sbatch_commands.slurm_time(seconds) == text
