"""What commands show and end of an experiment whose plans write to several output folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from page_lab import planned, roots_in

from training.execution.launcher_process import note_launcher
from training.jobs.status import survey, take_snapshot
from training.plan.experiments import all_experiments, find_experiment, read_plan
from training.plan.model import LoopStage
from training.records.claim import claimed
from training.records.record import Attempt, Cause, RunRecord, now, status_of, write_record
from training.report.loop_section import loop_section
from training.run import main

DONE, USAGE = 0, 2
STAGES = (
    ("train", "exp", "", "ab"),
    ("generate", "exp", "difix_data", "ab"),
    ("refiner", "exp", "refiner", ("refiner",)),
    ("refined", "exp_refined", "", "b"),
)


def stage_plan(folder: Path, number: int, *, in_loop: bool):
    """Keep the plan of one of the stages, which write to folders of their own; return it."""
    name, exp_name, output_subdir, scenes = STAGES[number]
    ids = [f"{each[1]}-20260101T000000.00000{index}" for index, each in enumerate(STAGES)]
    plan = planned(folder, *scenes)
    outputs = [plan.roots.output_folder(each, exp_name, output_subdir) for each in scenes]
    own = zip(plan.scenes, outputs, strict=True)
    plan = plan.model_copy(
        update={
            "plan_id": ids[number],
            "exp_name": exp_name,
            "output_subdir": output_subdir,
            "stage": LoopStage(name=name, after=(), loop="exp", plans=ids) if in_loop else None,
            "scenes": tuple(each.model_copy(update={"output": output}) for each, output in own),
        }
    )
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    plan.file.write_text(plan.to_json())
    return plan


@pytest.fixture
def loop(tmp_path):
    """The plans of a loop, by stage."""
    return {
        name: stage_plan(tmp_path, number, in_loop=True) for number, (name, *_) in enumerate(STAGES)
    }


def end(plan, cause=Cause.OK) -> None:
    """Write records of attempts that have ended, well or by another cause, and their logs."""
    moment = now()
    for scene in plan.scenes:
        attempt = Attempt(start=moment, end=moment, cause=cause, host="h", pid=1)
        known = {"scene": scene.name, "exp_name": scene.exp_name, "fingerprint": "f"}
        record = RunRecord(**known, status=status_of(cause), attempts=(attempt,))
        write_record(scene.output, record)
        scene.log.write_text(f"log of {scene.output}\n")


def start(plan) -> None:
    """Write the record of a first scene that runs."""
    scene = plan.scenes[0]
    attempt = Attempt(start=now(), host="h", pid=os.getpid())
    known = {"scene": scene.name, "exp_name": scene.exp_name, "fingerprint": "f"}
    write_record(scene.output, RunRecord(**known, status="running", attempts=(attempt,)))


def command(plan, *flags):
    roots = [f"--results-root={plan.roots.results_root}", f"--state-root={plan.roots.state_root}"]
    return main([*flags, *roots])


def test_the_list_counts_the_scenes_that_a_loop_trains(loop, tmp_path):
    """While a process runs all stages, whose plans are as new; not the refiner, nor all of them."""
    for plan in loop.values():
        note_launcher(plan.file)
    end(loop["train"])
    found = {each.experiment.name: each for each in survey(all_experiments(roots_in(tmp_path)))}
    assert [(each.scene, each.state) for each in found["exp"].scenes] == [
        ("a", "done"),
        ("b", "done"),
    ]
    assert found["exp"].is_active
    assert [each.scene for each in found["exp_refined"].scenes] == ["b"]


def test_a_run_mode_of_the_whole_experiment_has_one_line(tmp_path):
    """The scenes that the experiment has trained before write to other folders."""
    end(stage_plan(tmp_path, 0, in_loop=False))
    end(stage_plan(tmp_path, 2, in_loop=False))
    snapshot = take_snapshot(find_experiment("exp", roots_in(tmp_path)))
    assert [each.scene for each in snapshot.scenes] == ["refiner"]
    assert snapshot.is_done


@pytest.mark.parametrize(
    ("scene", "last", "shown"),
    [
        ("a", "train", "results/a/exp\n"),
        ("a", "generate", "results/a/exp/difix_data\n"),
        ("refiner", "refiner", "results/_experiments/exp/refiner\n"),
    ],
)
def test_logs_of_a_loop_are_those_of_the_stage_that_wrote_last(loop, capsys, scene, last, shown):
    """By the loop's name; a stage with an experiment of its own has its own name."""
    for plan in loop.values():
        end(plan)
        for each in plan.scenes:
            os.utime(each.log, (1, 2 if plan is loop[last] else 1))
    assert command(loop["train"], "--logs", scene, "--exp-name", "exp") == DONE
    assert capsys.readouterr().out.endswith(shown)


def test_the_table_of_a_done_stage_is_not_shown_while_the_loop_goes_on(loop, capsys):
    """Nor that of a stage that is to come; its line says both."""
    for plan in loop.values():
        note_launcher(plan.file)
    end(loop["train"])
    command(loop["train"], "--status", "--exp-name", "exp")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "stage",
        "train",
        "generate",
        "refiner",
        "refined",
    ]
    assert "2 done" in lines[1]


def test_what_needs_a_failed_stage_is_not_queued(loop, capsys):
    """While the process of the loop goes on with others; also by the name of its own experiment."""
    loop["generate"] = after(loop["generate"], "train")
    loop["refined"] = after(loop["refined"], "generate")
    for plan in loop.values():
        note_launcher(plan.file)
    read_plan.cache_clear()
    end(loop["train"], Cause.TRAINER_ERROR)
    command(loop["train"], "--status", "--exp-name", "exp")
    _, train, generate, refiner, refined, *_ = capsys.readouterr().out.splitlines()
    assert "2 failed" in train
    assert "2 not started" in generate
    assert "1 queued" in refiner, "it needs nothing"
    assert "1 not started" in refined
    command(loop["train"], "--status", "--exp-name", "exp_refined")
    assert "needs generate" in capsys.readouterr().out


def test_a_later_run_mode_does_not_hide_the_loop(loop, tmp_path, capsys):
    """Its stages are shown, the other folder behind them; --cancel ends all of both."""
    for plan in loop.values():
        end(plan)
    plan = loop["train"].model_copy(
        update={
            "plan_id": "exp-20260102T000000.000000",
            "output_subdir": "standalone_evaluation",
            "stage": None,
        }
    )
    plan.file.write_text(plan.to_json())
    found = find_experiment("exp", roots_in(tmp_path))
    assert [part.output_subdir for part in found.parts][-1] == "standalone_evaluation"
    command(plan, "--status", "--exp-name", "exp")
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines[1:6]]
    assert names == ["train", "generate", "refiner", "refined", "evaluating"]
    note_launcher(plan.file)
    assert command(plan, "--cancel", "--exp-name", "exp", "--dry-run") == DONE
    assert "launcher: process" in capsys.readouterr().out


def after(plan, *names):
    """Return a stage's plan, kept anew, that comes after others."""
    plan = plan.model_copy(update={"stage": plan.stage.model_copy(update={"after": names})})
    plan.file.write_text(plan.to_json())
    return plan


@pytest.mark.parametrize("trains", [True, False])
def test_one_stage_of_a_loop_on_another_host_can_not_be_cancelled(loop, capsys, trains):
    """Nobody here can tell whether its process lives: it does as long as it trains a scene."""
    plan = loop["refined"]
    elsewhere = {"host": "other", "boot": "b", "pid": 1, "start_ticks": 1}
    plan.file.with_suffix(".launcher").write_text(json.dumps(elsewhere))
    if trains:
        with claimed(loop["train"].scenes[0].output, os.getpid()):
            start(loop["train"])
            assert command(plan, "--cancel", "--exp-name", "exp_refined", "--dry-run") == USAGE
        assert "one process on other runs all of the loop exp" in capsys.readouterr().err
    else:
        assert command(plan, "--cancel", "--exp-name", "exp_refined", "--dry-run") == DONE


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_one_stage_can_not_be_cancelled_where_one_process_runs_all(loop, capsys, flags):
    """Its end would be that of the whole loop, whose name the message gives."""
    note_launcher(loop["refined"].file)
    assert command(loop["train"], "--cancel", "--exp-name", "exp_refined", *flags) == USAGE
    assert "--exp-name exp\n" in capsys.readouterr().err
    assert not loop["refined"].cancelled.exists()


def test_the_report_of_a_loop_alone_says_what_it_has_won(loop):
    """The scenes with novel views are no measure of what novel views gain."""
    roots = loop["train"].roots
    assert loop_section([loop["train"]], [], roots)
    assert loop_section([loop["refined"]], [], roots) == []
    assert loop_section([], [], roots) == []
