"""`training/run.py --submit` on a real Slurm: what the page promises, and what can go wrong.

The trainer is the stand-in; `do=…` says how it behaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
GENERATE = "run_mode=difix_data_generation_generate"
AWKWARD = ["a=x,y", "b='q\"uote'", "c=[1, 2]", "d=50%", "e=a#b", "f=süß 北", "g=k=v", "h=a b", "i="]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


@pytest.fixture
def users_lab(slurm_lab, slurm):
    """The lab with four scenes, and what a test asks of its submissions."""
    for number in range(4):
        slurm_lab.add_scene(f"a_{number}")
    slurm_lab.slurm = slurm
    return slurm_lab


def submit(lab: Any, *flags: str) -> list[str]:
    """The ids of the jobs that a submission of all scenes names, the array's first."""
    return submit_some(lab, "--run-all", *flags)


def submit_some(lab: Any, *flags: str) -> list[str]:
    result = lab.run("--submit", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    return submitted(result.stdout)


def submitted(text: str) -> list[str]:
    return re.findall(r"submitted: \w+ job (\d+)", text)


def state(lab: Any, job_id: str) -> str:
    return lab.slurm.job(job_id)["JobState"]


def wait_ended(lab: Any, eventually: Any, *job_ids: str) -> list[str]:
    def states() -> list[str] | None:
        found = [state(lab, job_id) for job_id in job_ids]
        return found if ENDED.issuperset(found) else None

    return eventually(states, f"the end of jobs {job_ids}")


def running(lab: Any) -> list[Any]:
    return [job for job in lab.slurm.squeue() if job.state == "RUNNING"]


def merged(lab: Any) -> list[dict[str, Any]]:
    path = lab.root / "results" / "_experiments" / "exp" / "merged.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def let_go(lab: Any, *names: str) -> None:
    for name in names:
        (lab.output(name) / "go.txt").touch()


def is_ready(lab: Any, name: str) -> bool:
    return (lab.output(name) / "ready.txt").exists()


def test_one_scene_as_the_page_submits_it(users_lab, eventually):
    """One task and no other job, named after the experiment, with the script's resources."""
    one = ("--scene-name-includes", "a_2")
    (array,) = submit_some(users_lab, *one, "--overrides", "do=wait")
    job = users_lab.slurm.job(array)
    assert job["JobName"] == "exp"
    assert job["TimeLimit"] == "03:00:00"
    assert job["TresPerNode"] == "gres:gpu:1"
    assert job["WorkDir"] == str(CHECKOUT)
    eventually(lambda: is_ready(users_lab, "a_2"), "the trainer")
    let_go(users_lab, "a_2")
    assert wait_ended(users_lab, eventually, array) == ["COMPLETED"]
    assert users_lab.starts("a_2")[0].split()[1] in {"0", "1"}  # the GPU that Slurm gave
    attempt = users_lab.record("a_2")["attempts"][0]
    assert attempt["slurm_job_id"] == f"{array}_0"
    assert attempt["host"] in users_lab.slurm.nodes
    assert not users_lab.output("a_1").exists()


def test_array_spec_and_throttle(users_lab):
    """All scenes are one array; --slurm.array-parallelism is its throttle, --slurm.* flags win."""
    flags = ("--slurm.job-name", "mine", "--slurm.time", "90", "--slurm.array-parallelism", "2")
    (array,) = submit(users_lab, *flags, "--overrides", "do=hang")
    rows = users_lab.slurm.call("squeue", f"--job={array}", "--noheader", "--format=%F %j %l")
    assert set(rows.split("\n")[:-1]) == {f"{array} mine 1:30:00"}
    fields = users_lab.slurm.call("scontrol", "show", "job", array)
    assert "ArrayTaskThrottle=2" in fields


def test_difix_generation_chains_its_aggregate(users_lab, eventually):
    """afterok on the array, its own name and time, no GPU; it runs once, after all scenes."""
    flags = ("--aggregate-job-name", "agg", "--aggregate-time", "0:20:00")
    array, aggregate = submit(users_lab, *flags, "--overrides", GENERATE, "do=wait", "b='x, y'")
    job = users_lab.slurm.job(aggregate)
    assert (job["JobName"], job["TimeLimit"]) == ("agg", "00:20:00")
    assert job["Dependency"].startswith(f"afterok:{array}_*")
    assert "TresPerNode" not in job
    names = [f"a_{number}" for number in range(4)]
    for name in names:
        eventually(lambda name=name: is_ready(users_lab, name), name)
        assert not merged(users_lab)
        let_go(users_lab, name)
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    (line,) = merged(users_lab)
    assert line["scenes"] == names
    mode = "run_mode=difix_data_generation_aggregate"
    assert line["arguments"] == [mode, "shared.exp_name=exp", "do=wait", "b='x, y'"]
    report = users_lab.root / "results" / "_experiments" / "exp" / "report.md"
    assert "4 of 4 scenes done" in report.read_text()


def test_no_aggregate_when_it_is_not_wanted(users_lab):
    """--no-auto-schedule-aggregate submits the array alone."""
    ids = submit(users_lab, "--no-auto-schedule-aggregate", "--overrides", GENERATE, "do=hang")
    assert len(ids) == 1
    assert {job.job_id.partition("_")[0] for job in users_lab.slurm.squeue()} == set(ids)


def test_eight_scenes_at_parallelism_two(users_lab, eventually):
    """Never more than two run at once; the aggregate runs once after eight successes."""
    for number in range(4, 8):
        users_lab.add_scene(f"a_{number}")
    _, aggregate = submit(
        users_lab, "--slurm.array-parallelism", "2", "--overrides", GENERATE, "do=wait"
    )
    done = set()
    while len(done) < 8:
        at_once = running(users_lab)
        assert len(at_once) <= 2
        ready = {f"a_{n}" for n in range(8) if is_ready(users_lab, f"a_{n}")} - done
        assert len(ready) <= 2
        if len(at_once) == len(ready) == min(2, 8 - len(done)):  # all that may run, does
            let_go(users_lab, *ready)
            done |= ready
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    assert len(merged(users_lab)) == 1
    assert all(len(users_lab.starts(f"a_{number}")) == 1 for number in range(8))


def test_a_failed_scene_ends_the_aggregate_and_the_same_command_goes_on(users_lab, eventually):
    """Three successes, one failure: the aggregate is gone; then only the failed one is trained."""
    overrides = ("--overrides", GENERATE, "do=half", "only=a_3")
    array, aggregate = submit(users_lab, *overrides)
    eventually(lambda: not users_lab.slurm.squeue(), "an empty queue")
    assert state(users_lab, aggregate) == "CANCELLED"
    assert state(users_lab, f"{array}_3") == "FAILED"
    assert not merged(users_lab)
    array, aggregate = submit(users_lab, *overrides)
    assert users_lab.slurm.job(array)["ArrayTaskId"] == "0"
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    assert [len(users_lab.starts(f"a_{number}")) for number in range(4)] == [1, 1, 1, 2]
    assert len(merged(users_lab)) == 1


def test_a_finished_experiment_only_aggregates(users_lab, eventually):
    """With no scene left the aggregate is submitted alone, waiting for nothing."""
    wait_ended(users_lab, eventually, *submit(users_lab, "--overrides", GENERATE))
    (aggregate,) = submit(users_lab, "--overrides", GENERATE)
    assert users_lab.slurm.job(aggregate)["Dependency"] in {"", "(null)"}
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    assert len(merged(users_lab)) == 2


def test_the_aggregate_looks_for_itself_whether_all_is_done(users_lab, eventually):
    """Slurm takes a job that it has forgotten for one that went well: the records decide."""
    array, _ = submit(users_lab, "--overrides", GENERATE, "do=fail", "only=a_1")
    eventually(lambda: not users_lab.slurm.squeue(), "an empty queue")
    command = users_lab.slurm.job(f"{array}_1")["Command"].split()
    plan = next(Path(word) for word in command if word.endswith(".json"))
    light = plan.with_suffix(".light.slurm")
    log = users_lab.root / "aggregate.out"
    aggregate = users_lab.slurm.call(
        *("sbatch", "--parsable", f"--chdir={CHECKOUT}", f"--output={log}"),
        *("--dependency=afterok:987654", str(light), "--in-job", "aggregate", str(plan)),
    ).strip()
    assert wait_ended(users_lab, eventually, aggregate) == ["FAILED"]
    assert "1 scenes are not done: a_1" in log.read_text()
    assert not merged(users_lab)


def test_a_scene_added_after_submit_shifts_nothing(users_lab, eventually):
    """The array reads the plan, not the folder; nor do later edits of a scene count."""
    (array,) = submit(
        users_lab, "--slurm.array-parallelism", "1", "--overrides", "do=wait", "only=a_0"
    )
    users_lab.add_scene("a_00")
    users_lab.add_scene("a_2", cam_id=99)
    eventually(lambda: is_ready(users_lab, "a_0"), "the first scene")
    let_go(users_lab, "a_0")
    wait_ended(users_lab, eventually, array)
    assert not users_lab.output("a_00").exists()
    assert [len(users_lab.starts(f"a_{number}")) for number in range(4)] == [1, 1, 1, 1]
    assert "from camera 28" in (users_lab.output("a_2") / "train.log").read_text()


def test_odd_values_arrive_and_no_variable_leaks_from_job_to_job(users_lab, eventually):
    """Submitted from inside a job, with values that break --export: all as it was typed."""
    flags = users_lab.arguments("--submit", "--run-all", "--overrides", *AWKWARD)
    inner = shlex.join([sys.executable, "training/run.py", *flags])
    script = users_lab.root / "outer.sh"
    script.write_text(f"#!/bin/bash\nexport SBATCH_JOB_NAME=leaked SLURM_FOO=1\n{inner}\n")
    environment = ",".join(f"{key}={value}" for key, value in users_lab.environment.items())
    users_lab.slurm.call(
        *("sbatch", "--wait", "--time=7", "--array=5", f"--chdir={CHECKOUT}", "--mem=100"),
        *(f"--output={users_lab.root}/outer.out", f"--export=ALL,{environment}", str(script)),
    )
    said = (users_lab.root / "outer.out").read_text()
    (array,) = submitted(said) or [said]
    assert wait_ended(users_lab, eventually, array) == ["COMPLETED"]
    job = users_lab.slurm.job(array)
    assert (job["JobName"], job["TimeLimit"]) == ("exp", "03:00:00")
    found = json.loads((users_lab.output("a_3") / "arguments.jsonl").read_text())
    assert found[2:] == AWKWARD
    environment = json.loads((users_lab.output("a_3") / "environment.json").read_text())
    assert environment["SLURM_ARRAY_TASK_ID"] == "3"
    assert "SLURM_FOO" not in environment
    assert not any(key.startswith("SBATCH_") for key in environment)


def test_scenes_in_the_queue_are_not_submitted_twice(users_lab, eventually):
    """Queued and running ones are held, said so; the new aggregate waits for them too."""
    one_by_one = ("--slurm.array-parallelism", "1")
    first, earlier = submit(users_lab, *one_by_one, "--overrides", GENERATE, "do=wait")
    eventually(lambda: is_ready(users_lab, "a_0"), "the first scene")
    users_lab.add_scene("b_0")
    result = users_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert f"a_0: not run, running in Slurm job {first}" in result.stdout
    assert f"a_3: not run, pending in Slurm job {first}" in result.stdout
    second, aggregate = submitted(result.stdout)
    assert users_lab.slurm.job(second)["ArrayTaskId"] == "0"
    assert f"afterok:{first}_3" in users_lab.slurm.job(aggregate)["Dependency"]
    again = users_lab.run("--submit", "--run-all", "--overrides", GENERATE, "do=wait")
    assert "nothing is left to submit" in again.stdout
    for name in ("b_0", "a_0", "a_1", "a_2", "a_3"):
        eventually(lambda name=name: is_ready(users_lab, name), name)
        let_go(users_lab, name)
    both = wait_ended(users_lab, eventually, earlier, aggregate)  # at once: one after the other
    assert both == ["COMPLETED", "COMPLETED"]
    assert all(len(users_lab.starts(f"a_{number}")) == 1 for number in range(4))


def test_a_failing_aggregate_is_told(users_lab, eventually):
    """The trainer's own exit status is the job's; log and job log say why."""
    _, aggregate = submit(users_lab, "--overrides", GENERATE, "do=fail_aggregate")
    assert wait_ended(users_lab, eventually, aggregate) == ["FAILED"]
    (log,) = (users_lab.root / "state" / "slurm").glob(f"*/exp_aggregate-{aggregate}.out")
    assert "aggregate of exp: exit status 1" in log.read_text()


def test_a_cancelled_task_is_cancelled_and_the_next_submission_trains_it(users_lab, eventually):
    """scancel of one task: its trainer gets its grace, Slurm's word settles it, nothing is left."""
    overrides = ("--overrides", GENERATE, "do=zero_on_term", "only=a_1")
    array, aggregate = submit(users_lab, *overrides)
    eventually(lambda: is_ready(users_lab, "a_1"), "the trainer")
    users_lab.slurm.call("scancel", f"{array}_1")
    eventually(lambda: not users_lab.slurm.squeue(), "an empty queue")
    assert state(users_lab, aggregate) == "CANCELLED"
    last = users_lab.record("a_1")["attempts"][-1]
    assert (last["cause"], last["slurm_job_id"]) == ("worker_lost", f"{array}_1")
    assert f"told to end by Slurm (job {array}_1 on " in last["message"]
    again = users_lab.run("--submit", "--run-all", *overrides)
    assert users_lab.causes("a_1")[0] == "cancelled"
    assert "a_1: last: cancelled" in again.stdout
    array, _ = submitted(again.stdout)
    eventually(lambda: len(users_lab.starts("a_1")) == 2, "the second start")
    assert [job.job_id for job in running(users_lab)] == [f"{array}_0"]


def test_a_scene_of_a_killed_node_is_trained_once_more(users_lab, eventually):
    """Slurm queues it again; the dead node's attempt is worker_lost, then it goes on."""
    array, aggregate = submit(users_lab, "--overrides", GENERATE, "do=resume", "only=a_2")
    eventually(lambda: is_ready(users_lab, "a_2"), "the trainer")
    eventually(lambda: len(users_lab.slurm.squeue()) == 2, "the end of the other scenes")
    users_lab.slurm.crash_node(users_lab.slurm.job(f"{array}_2")["NodeList"])
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    assert users_lab.causes("a_2") == ["worker_lost", "ok"]
    assert [len(users_lab.starts(f"a_{number}")) for number in range(4)] == [1, 1, 2, 1]
    assert {a["slurm_job_id"] for a in users_lab.record("a_2")["attempts"]} == {f"{array}_2"}


def test_a_timeout_with_a_checkpoint_goes_on_in_the_next_run_of_the_job(users_lab, eventually):
    """Our deadline comes before Slurm's: the record says timeout, and the task is queued again."""
    flags = ("--slurm.time", "0:08", "--scene-name-includes", "a_0")
    array, aggregate = submit_some(users_lab, *flags, "--overrides", GENERATE, "do=resume")
    assert wait_ended(users_lab, eventually, aggregate) == ["COMPLETED"]
    assert users_lab.causes("a_0") == ["timeout", "ok"]
    assert users_lab.slurm.job(f"{array}_0")["Restarts"] == "1"


def test_slurm_queues_again_without_end_but_we_do_not_start_without_end(users_lab, eventually):
    """--max-retries counts the starts of all runs of the job."""
    flags = ("--scene-name-includes", "a_0", "--max-retries", "0")
    (array,) = submit_some(users_lab, *flags, "--overrides", "do=hang")
    eventually(lambda: is_ready(users_lab, "a_0"), "the trainer")
    users_lab.slurm.call("scontrol", "requeue", f"{array}_0")
    assert wait_ended(users_lab, eventually, array) == ["FAILED"]
    assert len(users_lab.starts("a_0")) == 1
    (log,) = (users_lab.root / "state" / "slurm").glob(f"*/exp-{array}_0.out")
    assert "started 1 times already (--max-retries)" in log.read_text()


def test_a_walltime_kill_is_a_timeout_by_slurms_word(users_lab, eventually):
    """Slurm ends it before we do: settled by the next submission, which goes on from there."""
    flags = ("--scene-name-includes", "a_0", "--overrides", "do=resume")
    (array,) = submit_some(users_lab, *flags)
    eventually(lambda: is_ready(users_lab, "a_0"), "the trainer")
    users_lab.slurm.walltime_now(f"{array}_0")
    assert wait_ended(users_lab, eventually, array) == ["TIMEOUT"]
    (array,) = submit_some(users_lab, *flags)
    assert wait_ended(users_lab, eventually, array) == ["COMPLETED"]
    assert users_lab.causes("a_0") == ["timeout", "ok"]
    assert (users_lab.output("a_0") / "resumed.txt").exists()


def test_usr1_from_slurm_reaches_the_trainer(users_lab, eventually):
    """`exec` in the wrapper: what is sent to the batch shell goes to Python, and from it on."""
    one = ("--scene-name-includes", "a_0")
    (array,) = submit_some(users_lab, *one, "--overrides", "do=usr1")
    eventually(lambda: is_ready(users_lab, "a_0"), "the trainer")
    users_lab.slurm.call("scancel", "--batch", "--signal=USR1", f"{array}_0")
    assert wait_ended(users_lab, eventually, array) == ["COMPLETED"]
    assert (users_lab.output("a_0") / "usr1.txt").exists()


def test_what_slurm_refuses_is_told_before_anything_is_created(users_lab):
    """A partition and an account that are not there: Slurm's words and the line, exit status 2."""
    script = users_lab.root / "site.slurm"
    script.write_text('#!/bin/bash\n#SBATCH --time=10 -p nope\nexec python training/run.py "$@"\n')
    result = users_lab.run("--submit", "--run-all", "--slurm.slurm-script", str(script))
    assert result.returncode == 2
    assert "invalid partition specified: nope" in result.stderr
    assert f"{script}:2" in result.stderr
    assert not (users_lab.root / "state").exists()
    assert not users_lab.slurm.squeue()


def test_more_than_a_node_has_is_refused_before_it_is_queued(users_lab):
    """--gres=gpu:9: no node can ever hold it."""
    script = users_lab.root / "site.slurm"
    script.write_text("#!/bin/bash\n#SBATCH --time=10 --gres=gpu:9\ntrue\n")
    result = users_lab.run("--submit", "--run-all", "--slurm.slurm-script", str(script))
    assert result.returncode == 2
    assert "Requested node configuration is not available" in result.stderr
    assert not users_lab.slurm.squeue()
    assert not [path for path in (users_lab.root / "state").rglob("*") if path.is_file()]


def test_odd_folders(users_lab, eventually):
    """Spaces, quotes and % in the folders: jobs find their plan, and Slurm their logs."""
    odd = users_lab.root / "50%j a'; echo foo"
    users_lab.environment |= {
        "TS_STATE_ROOT": str(odd / "state"),
        "TS_RESULTS_ROOT": str(odd / "results"),
    }
    array, aggregate = submit(users_lab, "--overrides", GENERATE)
    assert wait_ended(users_lab, eventually, array, aggregate) == ["COMPLETED", "COMPLETED"]
    logs = {path.name for path in (odd / "state" / "slurm").glob("*/*")}
    assert logs == {*(f"exp-{array}_{n}.out" for n in range(4)), f"exp_aggregate-{aggregate}.out"}


def test_max_failures_keeps_further_tasks_from_starting(users_lab, eventually):
    """Once so many have failed, tasks that still wait end without a start."""
    flags = ("--slurm.array-parallelism", "1", "--max-failures", "1")
    (array,) = submit(users_lab, *flags, "--overrides", "do=fail")
    eventually(lambda: not users_lab.slurm.squeue(), "an empty queue")
    assert sum(len(users_lab.starts(f"a_{number}")) for number in range(4)) == 1
    (log,) = (users_lab.root / "state" / "slurm").glob(f"*/exp-{array}_3.out")
    assert "1 scenes have failed (--max-failures)" in log.read_text()


def test_the_pages_command_with_the_real_trainer(users_lab, eventually):
    """Scene data with a recipe is built at submission; the job trains and keeps its promises."""
    recipe = {"action": "dance", "people": ["ada", "ben"], "frames": 3, "image_size": 48}
    users_lab.add_scene("hi4d_pair17_dance", synthetic=recipe, raw_gt_dir_path="truth/dance")
    result = users_lab.run(
        *("--submit", "--scene-name-includes", "hi4d_pair17_dance", "--exp-name", "my_exp"),
        *("--overrides", "shared.wandb.enable=false", "train.optimization.epochs=2"),
        stand_in=False,
    )
    (array,) = submitted(result.stdout)
    assert users_lab.slurm.job(array)["JobName"] == "my_exp"
    assert wait_ended(users_lab, eventually, array) == ["COMPLETED"]
    assert users_lab.record("hi4d_pair17_dance", "my_exp")["status"] == "done"
    assert list(users_lab.output("hi4d_pair17_dance", "my_exp").glob("person_*.ply"))


def on_a_terminal(lab: Any, answer: str, *flags: str) -> tuple[int, str]:
    """Exit status and output of a submission by a person who types that answer."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "training/run.py", *lab.arguments("--submit", "--run-all", *flags)],
        cwd=CHECKOUT,
        env={**os.environ, **lab.environment},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        said = b""
        with contextlib.suppress(OSError):  # Linux's end of a terminal
            while chunk := os.read(ours, 4096):
                said += chunk
        os.close(ours)
        return process.wait(timeout=60), said.decode()


@pytest.mark.parametrize(
    ("answer", "flags", "status"),
    [("n\n", (), 130), ("\x04", (), 130), ("\n", (), 0), ("", ("--yes",), 0)],
)
def test_a_terminal_is_asked(users_lab, answer, flags, status):
    """Enter submits; n and end of input do not, and create nothing; --yes is not asked."""
    found, said = on_a_terminal(users_lab, answer, *flags)
    assert found == status, said
    assert ("Submit? [Y/n]" in said) is (not flags)
    assert "array exp: 4 scenes" in said
    assert bool(submitted(said)) is (status == 0)
    assert (users_lab.root / "state").exists() is (status == 0)
