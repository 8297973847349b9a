"""The texts of a flow run's page: table, progress, report, log lines, keys."""

from __future__ import annotations

import functools
import json
import logging
import random
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from page_lab import end, page_state_of, planned, record, roots_in, started
from PIL import Image
from prefect.exceptions import CancelledRun, FailedRun, ObjectNotFound

from flows.run_page.content import RunFacts, artifact_key, ended_line, progress, started_line, table
from flows.run_page.page_state import Started
from flows.run_page.refusal_artifact import refusal_artifact
from flows.run_page.report_artifact import report
from flows.run_page.scene_artifact import scene_page
from flows.runner.log_filter import FlowLogFilter, TaskLogFilter
from preprocess.faults import Fault, FaultsError
from training.records.outcome import Outcome
from training.records.record import Cause, now
from training.report.scene_rows import row_of
from training.slurm.job_states import JobLocation

ON_SLURM = RunFacts("exp", 2, on_gpus=True, on_slurm=True)
HOSTILE = "a|b `c` <img src=x> **d** __e__ line\n\x00 \x1b[31mred"


@pytest.fixture
def plan_of(tmp_path):
    """A plan with folders of its own."""
    return functools.partial(planned, tmp_path)


def test_the_table_says_of_each_scene_what_a_person_asks(plan_of):
    """It has cause, attempts, duration, GPU-hours, metrics, job, node and log."""
    plan = plan_of("a", "b", "c")
    state = page_state_of(plan)
    started(state, plan.scenes[0])
    end(state, plan.scenes[0], Cause.TRAINER_ERROR, message="the loss is not a number")
    started(state, plan.scenes[1])
    end(state, plan.scenes[1], psnr=20.04, ssim=0.9)
    started(state, plan.scenes[2], location=JobLocation("34", "n7"))
    failed, running, done = table(RunFacts.of(plan), state.rows(now()))
    assert failed == {
        "scene": "a",
        "state": "failed",
        "attempts": "1",
        "duration": "60 min",
        "GPU-hours": "1.00",
        "PSNR dB": "",
        "SSIM": "",
        "cause": "trainer_error: the loss is not a number",
        "job": "12",
        "node": "n1",
        "log": str(plan.scenes[0].log),
    }
    assert {**running, "log": ""} == {
        **dict.fromkeys(failed, ""),
        "scene": "c",
        "state": "running",
        "attempts": "1",
        "duration": "30 min",
        "GPU-hours": "0.50",
        "job": "34",
        "node": "n7",
    }
    assert (done["PSNR dB"], done["SSIM"], done["cause"]) == ("20.0", "0.900", "")


def test_empty_columns_are_left_out_and_hours_without_gpus_are_called_so(plan_of):
    """A run on a laptop has no job and no GPU."""
    plan = plan_of("a", gpus=())
    state = page_state_of(plan)
    started(state, plan.scenes[0])
    (row,) = table(RunFacts.of(plan), state.rows(now()))
    assert list(row) == ["scene", "state", "attempts", "duration", "hours", "node", "log"]


def test_text_of_names_and_messages_means_nothing_but_itself(plan_of):
    """Cells are plain text of one line; Markdown has no markup in it; all of it can be JSON."""
    plan = plan_of("a|b*c", "d")
    state = page_state_of(plan)
    for scene in plan.scenes:
        started(state, scene)
    end(state, plan.scenes[0], Cause.TRAINER_ERROR, message=HOSTILE)
    scenes = state.rows(now())
    text = table(RunFacts.of(plan), scenes)[0]["cause"]
    assert text == "trainer_error: a|b `c` <img src=x> **d** __e__ line \\x00 red"
    assert "failed: a\\|b\\*c" in progress(RunFacts.of(plan), scenes, now())
    written = report(plan, state.recorded)
    assert "<img" not in written
    assert "\x00" not in written
    json.dumps(written).encode()


def test_a_long_cause_is_short_and_stands_after_the_numbers(plan_of):
    """The numbers of other scenes stay on the screen; the report has the whole message."""
    plan = plan_of("a", "b")
    state = page_state_of(plan)
    message = "the loss is not a number " * 20
    end(state, plan.scenes[0], Cause.TRAINER_ERROR, message=message)
    end(state, plan.scenes[1], psnr=20.0)
    failed, _ = table(RunFacts.of(plan), state.rows(now()))
    assert len(failed["cause"]) <= 60
    assert failed["cause"].endswith("…")
    assert list(failed).index("PSNR dB") < list(failed).index("cause")
    assert message.strip() in report(plan, state.recorded)


def test_progress_counts_draws_and_estimates(plan_of):
    """Done scenes took an hour, one has run for half an hour, three wait, two run at once."""
    plan = plan_of(*"abcdefgh", g="skip", h="skip")
    for scene in plan.scenes[-2:]:
        record(scene, before_plan=True)
    state = page_state_of(plan)
    for scene in plan.scenes[:3]:
        started(state, scene)
    end(state, plan.scenes[0], Cause.TRAINER_ERROR)
    end(state, plan.scenes[1])
    moment = now()
    text = progress(RunFacts.of(plan), state.rows(moment), moment)
    assert text.startswith("## exp: 3 of 8 scenes done\n")
    assert f"`{'█' * 15}{'✕' * 5}{'░' * 20}` 37 % (█ done, ✕ failed or cancelled" in text
    assert "| done | running | waiting | failed |" in text
    assert "| 3 | 1 | 3 | 1 |" in text
    until = moment + timedelta(minutes=210)
    assert "About 3:30 h left, until " in text
    assert f"{until:%H:%M} UTC" in text
    assert "failed: a\n" in text
    assert "refreshed every 30 s" in text
    scenes = state.rows(moment)
    assert "| done | running | queued | failed |" in progress(ON_SLURM, scenes, moment)
    assert [row["state"] for row in table(ON_SLURM, scenes)].count("queued") == 3
    assert [row["state"] for row in table(RunFacts.of(plan), scenes)].count("waiting") == 3


def test_progress_shows_epoch_and_loss_of_what_runs_and_links_scenes(plan_of):
    """As their trainers said last; a scene's name leads to its own page."""
    plan = plan_of("a", "b")
    state = page_state_of(plan)
    for scene in plan.scenes:
        started(state, scene)
    end(state, plan.scenes[1], Cause.TRAINER_ERROR)
    plan.scenes[0].output.mkdir(parents=True, exist_ok=True)
    said = 'TS_PROGRESS {"epoch": 3, "epochs": 30, "loss": 0.0123}\n'
    plan.scenes[0].log.write_text(said)
    moment = now()
    text = progress(RunFacts.of(plan), state.rows(moment), moment, links={"b": "http://x/b"})
    assert "| a | epoch 3/30, loss 0.0123 | 30 min |" in text
    assert "failed: [b](http://x/b)" in text


def test_a_scenes_page_has_its_end_numbers_picture_and_log(plan_of):
    """Whatever is in them, it is below 600 kB; a picture that is too large is left out."""
    (scene,) = plan_of("a_1").scenes
    record(scene, psnr=20.04, picture="p.png")
    picture(scene.output / "p.png", 700)
    scene.log.write_text("".join(f"line {number}\n" for number in range(99)) + "`x" * 999)
    text = scene_page(scene, row_of(scene.name, scene.output))
    assert text.startswith("# a_1: done\n")
    assert "| 20.0 | 60 min |" in text
    assert "![target, before, after](data:image/jpeg;base64," in text
    assert "\n    line 98\n" in text
    assert "line 60" not in text
    assert len(text) < 600_000
    moving = replace(
        row_of(scene.name, scene.output), animations={"turntable": scene.output / "p.png"}
    )
    assert "turntable" not in scene_page(scene, moving)  # over a megabyte
    (scene.output / "small.webp").write_bytes(bytes(140_000))
    many = replace(moving, animations={f"a{n}": scene.output / "small.webp" for n in range(9)})
    assert len(scene_page(scene, many)) < 600_000


def test_a_refusal_is_in_the_words_of_the_form():
    """All faults, with the titles of fields in place of flags."""
    faults = [
        Fault("--slurm.time is not valid", "'soon'", "see --time-limit, or leave --no-snapshot"),
        Fault("no scene's seq_name contains", "'x'", "did you mean a_1"),
    ]
    key, kind, _, text = refusal_artifact("My_exp", FaultsError(faults))
    assert (key, kind) == ("my-exp-refused", "markdown")
    assert "2 to correct" in text
    assert "**\"Slurm: A scene's time\" is not valid**: 'soon'" in text
    assert 'see "Time limit", or leave "The trainer: Keep the sources"' in text
    assert "did you mean a_1" in text
    assert "--" not in text


def test_progress_says_how_a_run_ended(plan_of):
    """It estimates no end then."""
    plan = plan_of("a", a="skip")
    record(plan.scenes[0], before_plan=True)
    scenes = page_state_of(plan).rows(now(), is_over=True)
    text = progress(RunFacts.of(plan), scenes, now(), "Completed: nothing to do: 1 of 1 scene done")
    assert "**Completed: nothing to do: 1 of 1 scene done**" in text
    assert "left" not in text
    assert "refreshed" not in text


def picture(path: Path, size: int) -> None:
    """Noise, which no JPEG makes small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = random.Random(1).randbytes(size * size * 3)
    Image.frombytes("RGB", (size, size), noise).save(path)


def test_a_thousand_scenes_make_a_small_page(plan_of):
    """Table, progress and report are small enough for a browser and a database."""
    plan = plan_of(*(f"scene{number:04}" for number in range(1000)))
    state = page_state_of(plan)
    picture(plan.scenes[0].output / "p.png", 700)
    for scene in plan.scenes[:100]:
        end(state, scene, Cause.TRAINER_ERROR, message="x" * 500)
    for scene in plan.scenes[100:200]:
        end(state, scene, psnr=20.0, picture="p.png")
        (scene.output / "p.png").symlink_to(plan.scenes[0].output / "p.png")
    scenes = state.rows(now())
    assert len(json.dumps(table(RunFacts.of(plan), scenes))) < 100_000
    assert len(progress(RunFacts.of(plan), scenes, now())) < 2_000
    written = report(plan, state.recorded)
    assert len(written) < 1_000_000
    assert "The first 20 of 900; metrics.csv beside the whole report has all." in written
    assert "The first 50 of 1,000; metrics.csv beside the whole report has all." in written


def test_the_report_shows_pictures_and_names_those_that_it_can_not(plan_of):
    """They are data URIs, because the UI shows no files."""
    plan = plan_of("good", "broken", "huge")
    state = page_state_of(plan)
    for scene in plan.scenes:
        end(state, scene, psnr=20.0, picture="p.png")
    picture(plan.scenes[0].output / "p.png", 100)
    (plan.scenes[1].output / "p.png").write_text("no picture")
    written = report(plan, state.recorded)
    assert len(re.findall(r"!\[good\]\(data:image/jpeg;base64,[A-Za-z0-9+/=]+\)", written)) == 1
    assert f"not shown: {plan.scenes[1].output / 'p.png'}" in written


def test_keys_are_what_prefect_takes_and_no_two_experiments_share_one(tmp_path):
    """Characters that keys do not take, subfolders, long names, other result roots."""
    roots = roots_in(tmp_path)
    elsewhere = roots.model_copy(update={"results_root": tmp_path / "other"})
    names = ["My_exp", "my-exp", "my_exp", "my.exp", "ü", "-", "x" * 250, "x" * 249 + "y"]
    keys = [artifact_key(roots, name, "", "scenes") for name in names]
    keys += [
        artifact_key(roots, "my-exp", "", "report"),
        artifact_key(elsewhere, "my-exp", "", "scenes"),
    ]
    keys += [
        artifact_key(roots, "my-exp", "difix", "scenes"),
        artifact_key(roots, "my-exp-difix", "", "scenes"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[a-z0-9-]{1,120}", each) for each in keys)
    assert artifact_key(roots, "my-exp", "", "scenes").startswith("my-exp-scenes-")


def test_log_lines_name_the_scene_and_of_a_failure_give_the_last_words(plan_of):
    """A start has its job, an end its cause, PSNR and duration, a failure twenty lines of log."""
    (scene,) = plan_of("a").scenes
    start = Started(scene, 2, JobLocation("34", "n7"), now())
    assert started_line(start) == f"a: started, attempt 2 in Slurm job 34 on n7, log {scene.log}"
    done = Outcome(
        scene="a", status="done", cause=Cause.OK, log=scene.log, seconds=42, metrics={"psnr": 20.04}
    )
    assert ended_line(scene, done) == "a: done, PSNR 20.04 dB after 42 s"
    scene.output.mkdir(parents=True)
    scene.log.write_text("".join(f"line {number}\n" for number in range(30)) + "\x1b[1mend\x00\n")
    failed = done.model_copy(
        update={"status": "failed", "cause": Cause.TRAINER_ERROR, "message": "exit status 1"}
    )
    first, *lines = ended_line(scene, failed).splitlines()
    assert first == f"a: failed (trainer_error): exit status 1 after 42 s, log {scene.log}"
    assert len(lines) == 20
    assert lines[0] == "    | line 11"
    assert lines[-1] == r"    | end\x00"


def test_prefects_own_log_lines_pass_only_where_they_say_something_new():
    """Not for every hook and every state; crashes and errors in hooks, yes."""
    passes, state = TaskLogFilter().filter, "Finished in state Failed('a failed')"
    assert not passes(logging.LogRecord("x", logging.INFO, "", 1, "Running hook", (), None))
    assert not passes(logging.LogRecord("x", logging.ERROR, "", 1, state, (), None))
    assert passes(logging.LogRecord("x", logging.ERROR, "", 1, "Crash detected!", (), None))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (FailedRun("1 of 2"), False),
        (CancelledRun(), False),
        (ObjectNotFound(None), False),
        (OSError(), True),
    ],
)
def test_the_end_of_a_flow_run_is_told_once_without_a_traceback(error, passes):
    """Prefect raises the state that the flow has returned; other errors are news."""
    record = logging.LogRecord("x", logging.ERROR, "", 1, "exited", (), (type(error), error, None))
    assert FlowLogFilter().filter(record) is passes
    state = "Finished in state Failed('a\\n    -> b')"
    assert not FlowLogFilter().filter(logging.LogRecord("x", logging.INFO, "", 1, state, (), None))
