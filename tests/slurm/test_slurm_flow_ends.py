"""A flow on a real Slurm that can't start, is stopped, is killed, or loses Slurm for a while."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from flow_on_slurm import BOUND_S, attempts, causes, end, is_ready, script, start

GENERATE = "run_mode=difix_data_generation_generate"


@pytest.fixture
def one_runs_one_waits(flow_lab, slurm, eventually):
    """Starts a flow of two scenes on one node: the first one's trainer runs, the other's job is
    queued."""

    def begin(exp_name: str, do: str, *flags: str) -> Any:
        for name in ("a_1", "a_2"):
            flow_lab.add_scene(name, do=do)
        only_one = script(flow_lab, f"--exclusive --nodelist={slurm.nodes[0]}")
        flow_lab.flags = (*flags, *only_one)
        flow = start(flow_lab, exp_name, *flow_lab.flags)
        eventually(lambda: ready(flow_lab, exp_name), "a trainer")
        eventually(lambda: queued(slurm), "the other's job")
        return flow

    return begin


def ready(lab: Any, exp_name: str) -> list[str]:
    return [name for name in ("a_1", "a_2") if is_ready(lab, exp_name, name)]


def queued(slurm: Any) -> list[str]:
    return [row.job_id for row in slurm.squeue() if row.state == "PENDING"]


def nothing_is_left(lab: Any, slurm: Any) -> bool:
    return not slurm.squeue() and not lab.strays()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_flow_leaves_nothing_and_says_cancelled(
    flow_lab, prefect_api, one_runs_one_waits, eventually, number
):
    """Ctrl-C or TERM: exit status 130, the trainer ended in its grace, no job, no process. Before,
    a queued job that somebody cancels is replaced."""
    slurm = flow_lab.slurm
    exp_name = number.name
    flow = one_runs_one_waits(exp_name, "resume")
    (scene,) = ready(flow_lab, exp_name)
    if number == signal.SIGINT:
        (job,) = queued(slurm)
        slurm.call("scancel", job)
        eventually(lambda: queued(slurm) not in ([], [job]), "another job")
    flow.send_signal(number)
    end(flow, 130)
    assert causes(flow_lab, exp_name, scene) == ["cancelled"]
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert prefect_api.only_run(exp_name)["state"]["type"] == "CANCELLED"
    assert not list((flow_lab.root / "state" / "dask").iterdir())


def test_a_second_ctrl_c_ends_all_at_once(flow_lab, slurm, one_runs_one_waits, eventually):
    """A trainer that ignores TERM and has an hour of grace; the record is true all the same."""
    flow = one_runs_one_waits("twice", "ignore_term", "--kill-grace", "3600")
    (scene,) = ready(flow_lab, "twice")
    flow.send_signal(signal.SIGINT)
    eventually(lambda: not queued(slurm), "the queued job's end")
    flow.send_signal(signal.SIGINT)
    end(flow, 130)
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert causes(flow_lab, "twice", scene) == ["cancelled"]


def test_kill_9_leaves_nothing_and_the_same_command_finishes(
    flow_lab, slurm, one_runs_one_waits, eventually
):
    """The guard cancels the queued job, the worker notices; the record says worker_lost."""
    flow = one_runs_one_waits("killed", "resume")
    (scene,), (job,) = ready(flow_lab, "killed"), queued(slurm)
    flow.kill()
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert slurm.job(job)["JobState"] == "CANCELLED"
    assert causes(flow_lab, "killed", scene) == ["worker_lost"]
    assert not list((flow_lab.root / "state" / "dask").iterdir())
    (other,) = {"a_1", "a_2"} - {scene}
    flow_lab.add_scene(other)
    end(start(flow_lab, "killed", *flow_lab.flags))
    assert causes(flow_lab, "killed", scene) == ["worker_lost", "ok"]
    assert causes(flow_lab, "killed", other) == ["ok"]


def submitted(slurm: Any, exp_name: str) -> set[str]:
    """Names of all jobs of an experiment that have ended."""
    lines = (slurm.layout.folder / "jobs.txt").read_text().splitlines()
    names = [line.partition(" Name=")[2].partition(" ")[0] for line in lines]
    return {name for name in names if name.startswith(exp_name)}


def test_what_a_node_lacks_is_named_before_any_training(flow_lab, slurm, eventually):
    """Each fault alone: what, where, the remedy, exit status 1. No GPU job comes after a failed
    probe; where only GPU jobs fail, three do, each on another node."""
    flow_lab.add_scene("a_1")
    broken = flow_lab.root / "broken"
    broken.mkdir()
    (broken / "distributed.py").write_text("raise ModuleNotFoundError('No distributed here')")
    results, keys = flow_lab.root / "own", flow_lab.root / "state" / "dask"
    faults = {
        "interpreter": ("echo module: not found; exit 3", "module: not found"),
        "import": (f"export PYTHONPATH={broken}", "imported: ModuleNotFoundError: No distributed"),
        "results": (f"rm -rf {results}; touch {results}", f"the result root {results} can't be"),
        "scheduler": (
            f"sed -i 's/:[0-9][0-9]*\"/:9\"/' {keys}/scheduler-*/scheduler.json",
            "the Dask scheduler can't be reached: ",
        ),
        "gpu": ('if [ "$CUDA_VISIBLE_DEVICES" ]; then echo no licence; exit 3; fi', "no licence"),
    }
    flows = {}
    for name, (line, _) in faults.items():
        own = script(flow_lab, lines=line, name=name)
        root = results if name == "results" else flow_lab.root / "results"
        flows[name] = start(flow_lab, name, "--results-root", str(root), *own)
    for name, flow in flows.items():
        out = end(flow, 1)
        assert "Failed, 0 of 1 scenes done; not done: a_1 (" in out
        assert faults[name][1] in out
        assert "    -> " in out
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert submitted(slurm, "gpu") == {"gpu-probe", "gpu-w1", "gpu-w2", "gpu-w3"}
    for name in {*faults} - {"gpu"}:
        assert submitted(slurm, name) == {f"{name}-probe"}
    assert not list(keys.iterdir())


def test_what_slurm_or_this_machine_refuses_is_told_at_once(flow_lab, slurm):
    """Slurm's own words and the directive; the interface's nearest name; nothing is created."""
    flow_lab.add_scene("a_1")
    out = end(start(flow_lab, "refused", *script(flow_lab, "--partition=nosuch")), 2)
    assert "invalid partition specified: nosuch" in out
    assert "(see --partition)" in out
    out = end(start(flow_lab, "refused", "--slurm.interface", "lo0"), 2)
    assert "--slurm.interface" in out
    assert "did you mean lo?" in out
    assert not submitted(slurm, "refused")
    assert not (flow_lab.root / "state").exists()


def test_a_run_survives_a_controller_that_is_away(flow_lab, slurm, eventually):
    """It goes away while a scene runs whose job is then to be replaced: said, waited for, done."""
    flow_lab.add_scene("a_1", do="wait")
    flow_lab.add_scene("a_2")
    flow_lab.add_scene("a_3", do="wait")
    flow = start(flow_lab, "away", "--slurm.array-parallelism", "2")
    eventually(lambda: is_ready(flow_lab, "away", "a_1", "a_3"), "both trainers")
    slurm.stop_controller()
    (flow_lab.output("a_1", "away") / "go.txt").touch()
    said = next(line for line in flow.stdout if "does not answer" in line)
    assert "Unable to contact slurm controller" in said
    slurm.start_controller()
    (flow_lab.output("a_3", "away") / "go.txt").touch()
    end(flow)
    assert [len(attempts(flow_lab, "away", f"a_{number}")) for number in (1, 2, 3)] == [1, 1, 1]


def test_difix_data_is_merged_once_when_all_scenes_are_done(flow_lab, slurm, prefect_api):
    """One of two fails: no aggregate, not even its job; the same command trains it and merges."""
    flow_lab.add_scene("a_1")
    flow_lab.add_scene("a_2", do="half")
    flags = ("--aggregate-job-name", "difix-merge", "--overrides", GENERATE)
    out = end(start(flow_lab, "difix", *flags), 1)
    assert "1 of 2 scenes done; not done: a_2 (trainer_error)" in out
    runs = prefect_api.task_runs(prefect_api.only_run("difix"))
    assert runs["aggregate"]["state"]["name"] == "NotReady"
    assert submitted(slurm, "difix") == {"difix-probe", "difix-w1", "difix-w2"}
    end(start(flow_lab, "difix", *flags))
    assert len(attempts(flow_lab, "difix", "a_1")) == 1
    assert causes(flow_lab, "difix", "a_2") == ["trainer_error", "ok"]
    merged = flow_lab.root / "results" / "_experiments" / "difix" / "merged.jsonl"
    (line,) = merged.read_text().splitlines()
    assert json.loads(line)["scenes"] == ["a_1", "a_2"]
