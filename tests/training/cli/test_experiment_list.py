"""`--status` without an experiment, and `experiments`: from plans, records, one look at Slurm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from training.cli import experiment_list
from training.execution.launcher_process import note_launcher
from training.jobs import status
from training.plan.experiments import all_experiments
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions
from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.run import main
from training.slurm.client import SlurmError
from training.system.paths import resolve_roots

DONE, USAGE, GOING_ON = 0, 2, 3


@pytest.fixture
def here(lab, monkeypatch):
    """The lab with two scenes, as this process's own roots."""
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    lab.add_scene("a")
    lab.add_scene("b")
    return lab


@pytest.fixture
def plan_of(here):
    """Keep the plan of an experiment as a launch does; return it."""

    def keep(exp_name: str, **more):
        script = here.arguments()[-1]
        options = LaunchOptions(
            exp_name=exp_name,
            run_all=True,
            scenes_dir=str(here.scenes_dir),
            train_script=script,
            snapshot=False,
            **more,
        )
        plan = make_plan(options)
        plan.file.parent.mkdir(parents=True, exist_ok=True)
        plan.file.write_text(plan.to_json())
        return plan

    return keep


def end(plan, scene: str, cause: Cause, hours_ago: float = 0) -> None:
    """Write the record of an attempt that has ended."""
    moment = now() - timedelta(hours=hours_ago)
    (planned,) = [each for each in plan.scenes if each.name == scene]
    state = "done" if cause is Cause.OK else "failed"
    attempt = Attempt(start=moment, end=moment, cause=cause, host="h", pid=1)
    write_record(planned.output, record_of(planned, state, attempt))


def record_of(planned, state, attempt) -> RunRecord:
    return RunRecord(
        scene=planned.name,
        exp_name=planned.exp_name,
        status=state,
        fingerprint=planned.fingerprint,
        attempts=(attempt,),
    )


def lines(capsys) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_experiments_are_counted_by_state_newest_first(plan_of, capsys):
    """Of the newest plan and all records; a column for each state that there is."""
    old, new = plan_of("old"), plan_of("new")
    end(old, "a", Cause.OK, hours_ago=3)
    end(new, "a", Cause.OK)
    end(new, "b", Cause.TRAINER_ERROR)
    assert experiment_list.command([]) == DONE
    head, first, second = lines(capsys)
    assert head == [
        "experiment",
        "scenes",
        "done",
        "failed",
        "not",
        "started",
        "last",
        "change",
    ]
    assert first[:4] == ["new", "2", "1", "1"]
    assert second[:4] == ["old", "2", "1", "1"]  # the second is of "not started"


def test_what_goes_on_comes_first_and_gives_status_3(plan_of, capsys):
    """A launcher that lives, of an older plan than the newest."""
    old = plan_of("going")
    plan_of("going")
    note_launcher(old.file)
    end(plan_of("ended"), "a", Cause.OK)
    assert main(["--status"]) == GOING_ON
    assert [line[0] for line in lines(capsys)] == ["experiment", "going", "ended"]


def test_status_shows_the_last_few_that_ended(plan_of, capsys):
    """And how to see the others; an ended one alone gives status 0."""
    for number in reversed(range(experiment_list.MOST_ENDED + 2)):  # a plan is a change, too
        end(plan_of(f"e{number}"), "a", Cause.OK, hours_ago=number)
    assert main(["--status"]) == DONE
    *table, more = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[1:]] == ["e0", "e1", "e2", "e3", "e4"]
    assert more == "… and 2 more that have ended (training-scheduler experiments)"


def test_records_whose_plan_is_gone_are_listed(plan_of, capsys):
    """An experiment is its records."""
    plan = plan_of("kept")
    end(plan, "b", Cause.OK)
    plan.file.unlink()
    assert experiment_list.command([]) == DONE
    assert lines(capsys)[1][:3] == ["kept", "1", "1"]


def test_slurm_is_asked_once_for_all_experiments(plan_of, monkeypatch):
    """However many; and when it does not answer, what has not ended may go on."""
    for name in ("one", "two", "three"):
        plan_of(name, submit=True, dry_run=True)
    end(plan_of("half", submit=True, dry_run=True), "a", Cause.OK)
    asked = []

    def my_jobs():
        asked.append(1)
        raise SlurmError("no answer")

    monkeypatch.setattr(status.client, "my_jobs", my_jobs)
    roots = resolve_roots({})
    snapshots = status.survey(all_experiments(roots))
    assert len(asked) == 1
    assert all(each.is_active for each in snapshots)
    assert "Slurm does not answer: no answer" in experiment_list.render(snapshots, roots)


def test_an_empty_result_root_is_named(here, capsys):
    """Nothing is created by looking."""
    assert main(["--status"]) == DONE
    assert str(here.root / "results") in capsys.readouterr().out
    assert not (here.root / "results").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("flags", [["--watch"], ["--cancel"], ["--status", "--watch"]])
def test_the_other_commands_still_need_an_experiment(flags, capsys):
    """They are about one."""
    assert main(flags) == USAGE
    assert "--exp-name" in capsys.readouterr().err
