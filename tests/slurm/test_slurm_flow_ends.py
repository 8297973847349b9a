"""Flows on a real Slurm that can't start, are stopped or killed, or lose Slurm for a while."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from flow_on_slurm import BOUND_S, attempts, causes, end, ended_jobs, is_ready, script, start

from tests.faults.markers import stopped

STOPPED = {"way": "slurm_flow", "left": "nothing", "rerun": "trains it"}


@pytest.fixture
def one_runs_one_waits(flow_lab, slurm, eventually):
    """Start a flow of two scenes on one node: one trainer runs, the other's job is queued."""

    def begin(exp_name: str, do: str, *flags: str) -> Any:
        for name in ("a_1", "a_2"):
            flow_lab.add_scene(name, do=do)
        flow = start(flow_lab, exp_name, *flags, *only_one(flow_lab, slurm))
        eventually(lambda: ready(flow_lab, exp_name), "a trainer")
        eventually(lambda: queued(slurm), "the other's job")
        return flow

    return begin


def only_one(lab: Any, slurm: Any) -> tuple[str, str]:
    """Return the flag of a Slurm script with room for one job, in which the shell stays."""
    directives = f"--exclusive --nodelist={slurm.nodes[0]}"
    return script(lab, directives, start="python")


def ready(lab: Any, exp_name: str) -> list[str]:
    return [name for name in ("a_1", "a_2") if is_ready(lab, exp_name, name)]


def queued(slurm: Any) -> list[str]:
    return [row.job_id for row in slurm.squeue() if row.state == "PENDING"]


def nothing_is_left(lab: Any, slurm: Any) -> bool:
    return not slurm.squeue() and not lab.strays()


def check_again(lab: Any, slurm: Any, exp_name: str, scene: str, *flags: str) -> None:
    """Assert that the same command trains both scenes; trainers end well now."""
    before = causes(lab, exp_name, scene)
    (other,) = {"a_1", "a_2"} - {scene}
    for name in (scene, other):
        lab.output(name, exp_name).mkdir(parents=True, exist_ok=True)
        (lab.output(name, exp_name) / "healed").touch()
    out = end(start(lab, exp_name, *flags, *only_one(lab, slurm)))
    assert "2 of 2 scenes done" in out
    assert causes(lab, exp_name, scene) == [*before, "ok"]
    assert causes(lab, exp_name, other) == ["ok"]


@stopped("Ctrl-C once", **STOPPED)
def test_a_stopped_flow_leaves_nothing_and_says_cancelled(
    flow_lab, slurm, prefect_api, one_runs_one_waits, eventually
):
    """Ctrl-C: exit status 130, the trainer ends in its grace, no job and no process is left.

    Before that, a queued job that somebody cancels is replaced.
    """
    flow = one_runs_one_waits("stopped", "resume")
    (scene,), (job,) = ready(flow_lab, "stopped"), queued(slurm)
    slurm.call("scancel", job)
    eventually(lambda: queued(slurm) not in ([], [job]), "another job")
    flow.send_signal(signal.SIGINT)
    end(flow, 130)
    assert causes(flow_lab, "stopped", scene) == ["cancelled"]
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert prefect_api.only_run("stopped")["state"]["type"] == "CANCELLED"
    assert not list((flow_lab.root / "state" / "dask").iterdir())
    check_again(flow_lab, slurm, "stopped", scene)


@pytest.mark.long
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(signal.SIGTERM, id="TERM", marks=stopped("TERM", **STOPPED)),
        pytest.param(signal.SIGHUP, id="HUP", marks=stopped("HUP", **STOPPED)),
        pytest.param(
            "ui",
            id="ui",
            marks=stopped("the run is cancelled in Prefect's UI", **STOPPED),
        ),
    ],
)
def test_other_ways_of_stopping_a_flow_do_the_same(
    flow_lab, slurm, prefect_api, one_runs_one_waits, way
):
    """A signal, or somebody in Prefect's UI, which sets the run to Cancelling."""
    exp_name = f"stopped_{getattr(way, 'name', way)}"
    flow = one_runs_one_waits(exp_name, "resume")
    (scene,) = ready(flow_lab, exp_name)
    if way == "ui":
        run = prefect_api.only_run(exp_name)["id"]
        prefect_api.ask(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    else:
        flow.send_signal(way)
    end(flow, 130)
    assert causes(flow_lab, exp_name, scene) == ["cancelled"]
    slurm.wait(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert prefect_api.only_run(exp_name)["state"]["type"] == "CANCELLED"
    check_again(flow_lab, slurm, exp_name, scene)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(1, id="twice", marks=stopped("Ctrl-C twice", **STOPPED)),
        pytest.param(
            2,
            id="three times",
            marks=[stopped("Ctrl-C three times", **STOPPED), pytest.mark.long],
        ),
    ],
)
def test_a_second_ctrl_c_ends_everything_at_once(
    flow_lab, slurm, one_runs_one_waits, eventually, more
):
    """A trainer that ignores TERM and has an hour of grace; its record is correct all the same."""
    patient = ("--kill-grace", "3600")
    flow = one_runs_one_waits("twice", "ignore_term", *patient)
    (scene,) = ready(flow_lab, "twice")
    flow.send_signal(signal.SIGINT)
    eventually(lambda: not queued(slurm), "the queued job's end")
    for _ in range(more):
        flow.send_signal(signal.SIGINT)
        time.sleep(0.3)  # nothing to wait for: signals of one kind are merged
    end(flow, 130)
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert causes(flow_lab, "twice", scene) == ["cancelled"]
    check_again(flow_lab, slurm, "twice", scene, *patient)


@pytest.mark.fault(
    "kill -9 while scenes train",
    way="slurm_flow",
    ends="failed",
    attempts="worker_lost",
    left="nothing",
    flow="killed",
    rerun="trains it, and what was left",
    breakage="a trainer whose flow is gone is cancelled",
)
def test_kill_9_leaves_nothing_and_the_same_command_finishes(
    flow_lab, slurm, one_runs_one_waits, eventually
):
    """The guard cancels the queued job, the worker closes itself; the record says worker_lost."""
    flow = one_runs_one_waits("killed", "resume")
    (scene,), (job,) = ready(flow_lab, "killed"), queued(slurm)
    flow.kill()
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    assert slurm.job(job)["JobState"] == "CANCELLED"
    assert causes(flow_lab, "killed", scene) == ["worker_lost"]
    assert not list((flow_lab.root / "state" / "dask").iterdir())
    check_again(flow_lab, slurm, "killed", scene)


@pytest.mark.long
def test_what_a_node_lacks_is_named_before_any_training(flow_lab, slurm, eventually):
    """What, where, the remedy, exit status 1; the probe's steps have tests without Slurm.

    No GPU job follows a failed probe; where only GPU jobs fail, one does on each node there is, and
    on three of them a second time.
    Neither is remembered of the nodes.
    """
    flow_lab.add_scene("a_1")
    faults = {
        "interpreter": ("echo module: not found; exit 3", "module: not found"),
        "gpu": ('if [ "$CUDA_VISIBLE_DEVICES" ]; then echo no licence; exit 3; fi', "no licence"),
    }
    flows = {
        name: start(flow_lab, name, *script(flow_lab, lines=line, name=name))
        for name, (line, _) in faults.items()
    }
    for name, flow in flows.items():
        out = end(flow, 1)
        assert "Failed, 0 of 1 scene done; not done: a_1 (" in out
        assert faults[name][1] in out
        assert "    -> " in out
    eventually(lambda: nothing_is_left(flow_lab, slurm), "nothing to be left", BOUND_S)
    workers = {
        f"gpu-w{number}" for number in range(1, 9)
    }  # Slurm notes the fifth, which it refuses
    assert ended_jobs(slurm, "gpu") == {"gpu-probe", *workers}
    assert ended_jobs(slurm, "interpreter") == {"interpreter-probe"}
    assert not list((flow_lab.root / "state" / "dask").iterdir())
    assert not (flow_lab.root / "state" / "bad_nodes").exists()


def test_what_slurm_or_this_machine_refuses_is_reported_at_once(flow_lab, slurm):
    """Slurm's own words and the directive; the interface's nearest name; nothing is created."""
    flow_lab.add_scene("a_1")
    out = end(start(flow_lab, "refused", *script(flow_lab, "--partition=nosuch")), 2)
    assert "invalid partition specified: nosuch" in out
    assert "(see --partition)" in out
    out = end(start(flow_lab, "refused", "--slurm.interface", "lo0"), 2)
    assert "--slurm.interface" in out
    assert "did you mean lo?" in out
    assert not ended_jobs(slurm, "refused")
    assert not (flow_lab.root / "state").exists()


@pytest.mark.long
def test_a_run_survives_a_controller_that_is_away(flow_lab, slurm, eventually):
    """It stops while two scenes run; the job of one is replaced when it answers again."""
    flow_lab.add_scene("a_1", do="wait")
    flow_lab.add_scene("a_2", do="wait")
    flow_lab.add_scene("a_3")
    flow = start(flow_lab, "away", "--slurm.array-parallelism", "2")
    eventually(lambda: is_ready(flow_lab, "away", "a_1", "a_2"), "both trainers")
    slurm.stop_controller()
    flow_lab.let_go("a_1", "away")
    said = next(line for line in flow.stdout if "does not answer" in line)
    assert "Unable to contact slurm controller" in said
    slurm.start_controller()
    flow_lab.let_go("a_2", "away")
    end(flow)
    assert [len(attempts(flow_lab, "away", f"a_{number}")) for number in (1, 2, 3)] == [1, 1, 1]
