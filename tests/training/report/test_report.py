"""The experiment's report: made from records, it names what is wrong and fetches nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from report_lab import BEFORE, START, Page, attempt, folder, planned, record

from flows.report import main
from flows.runner.tasks import aggregate_experiment
from training.plan.model import Plan
from training.records.record import Cause
from training.report.plots.timeline import Clock, spans_of
from training.report.scene_rows import Row
from training.report.settings import changed_settings
from training.report.summary import summarise, table

CHECKOUT = Path(__file__).resolve().parents[3]


def test_one_failed_scene_is_named_and_the_rest_averaged(roots, capsys):
    """The report has its cause, message and log, and averages of the others; exit status 0."""
    record(roots, "hi4d_a", psnr=20.0, before=BEFORE)
    record(roots, "hi4d_b", psnr=22.0, before=BEFORE)
    record(roots, "hi4d_c", attempt(Cause.TRAINER_ERROR, message="the loss is not a number"))
    assert main(["--exp-name", "exp"]) == 0
    report = (folder(roots) / "report.md").read_text()
    log = roots.output_folder("hi4d_c", "exp") / "train.log"
    assert f"- hi4d_c: failed (trainer_error), log: {log}\n  - the loss is not a number" in report
    assert "| average | 2 done |  |  | 21.0 | 5.0 |" in report
    assert "- mean PSNR: 21.0 dB (16.0 dB before training)" in report
    assert "GPU-hours: 3.00 (3 attempts" in report
    assert "the loss is not a number" in Page(folder(roots) / "report.html").shown
    output = capsys.readouterr().out
    assert "hi4d_c   failed (trainer_error)" in output
    for name in ("report.html", "report.md", "metrics.csv", "psnr_by_scene.png", "gantt.png"):
        assert f"wrote {folder(roots) / name}" in output


def test_averages_are_by_data_set_and_over_all(roots):
    """The data set is the first word of a scene's name."""
    for scene, psnr in (("hi4d_a", 20.0), ("hi4d_b", 22.0), ("synthetic_a", 30.0)):
        record(roots, scene, psnr=psnr)
    report = summarise(roots, "exp", []).report.read_text()
    assert "| average hi4d | 2 done |  |  | 21.0 |" in report
    assert "| average synthetic | 1 done |  |  | 30.0 |" in report
    assert "| average | 3 done |  |  | 24.0 |" in report


def test_no_average_where_there_are_no_numbers(roots):
    """Another trainer may write no metrics, or other things under the same names."""
    record(roots, "a_1", before=3, psnr="good", picture=7)
    record(roots, "a_2")
    output = table(roots, "exp", [])
    assert "average" not in output
    assert "total" not in output
    report = summarise(roots, "exp", []).report.read_text()
    assert "| 2 done |" not in report
    assert "PSNR" not in report


def test_a_record_that_can_not_be_read_is_named(roots):
    """The report says what is wrong with it, and covers the others."""
    record(roots, "a_1", psnr=20.0)
    broken = roots.output_folder("a_2", "exp")
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    summary = summarise(roots, "exp", [])
    report = summary.report.read_text()
    assert "- a_2: failed (unreadable record), log:" in report
    assert f"{broken / 'run.json'} is not a readable run record" in report
    assert "1 of 2 scenes done" in report


def test_a_report_begins_with_the_settings_that_are_not_the_defaults(roots):
    """With the default beside each; scenes that differ show their values."""
    own = {"(script)": "simple_multi_human_trainer.py", "model.sh_degree": 0}
    record(roots, "a_1", configuration={**own, "seed": 5, "train.optimization.lr": None})
    record(roots, "a_2", configuration={**own, "seed": 6, "train.optimization.lr": None})
    report = summarise(roots, "exp", []).report.read_text()
    assert report.index("| seed | 5 or 6 | 0 |") < report.index("| a_1 | done |")
    assert "optimization.lr" not in report


def test_a_report_has_the_command_lines_that_launched_its_scenes(roots):
    """Each once, of few; to be copied, so with what Markdown and HTML give a meaning as it is."""
    for number, words in enumerate(["a=*1*", "a=*1*", "a=<b>", "c=3", "d=4"]):
        launched = attempt(Cause.OK).model_copy(update={"launch_command": f"run.py {words}"})
        record(roots, f"a_{number}", launched)
    made = summarise(roots, "exp", [])
    report = made.report.read_text()
    assert "with, and 1 more:\n\n    run.py a=*1*\n    run.py a=<b>\n    run.py c=3\n\n" in report
    assert "run.py a=<b>\nrun.py c=3" in Page(made.report.with_suffix(".html")).shown


def test_a_report_of_another_trainer_begins_with_its_overrides(roots):
    """Its defaults are its own affair; numbers that it writes are columns by themselves."""
    record(roots, "a_1", configuration={"(script)": "my.py", "width": "64"}, val={"iou": 0.51234})
    report = summarise(roots, "exp", []).report.read_text()
    assert "| width | 64 |  |" in report
    assert "| scene | state | attempts | time | val.iou |" in report
    assert "| 60 min | 0.5123 |" in report


def test_the_settings_of_another_trainer_are_its_recorded_overrides():
    """Without the launcher's own arguments; what Hydra composed from them is not repeated."""
    command = "TS_X=1 python my.py shared.scene_name=a shared.exp_name='e 1' +lr=0.1 'note=a b'"
    found = changed_settings({"(script)": "my.py", "lr": 0.1, "width": 64}, command)
    assert found == {"lr": "0.1", "note": "a b"}


def test_waits_are_from_the_plan_or_the_attempt_before(roots):
    """A first attempt waits from the plan's creation on, the next one from its end on."""
    first = attempt(Cause.NODE_FAILURE, begin=10, minutes=20, host="n1", job="7")
    second = attempt(Cause.OK, begin=45, host="n2", job="8")
    later = attempt(Cause.OK, begin=60 * 24, job="9")
    plans = [
        planned(roots, "a_1"),
        planned(roots, "a_2", created=START + timedelta(hours=24, minutes=-5)),
    ]
    record(roots, "a_1", first, second)
    record(roots, "a_2", later)
    record(roots, "a_3", attempt(Cause.OK))  # of a plan that is not known here
    spans = spans_of(summarise(roots, "exp", []).rows, plans)
    waits = [span.wait_s and span.wait_s / 60 for span in spans]
    assert waits == [10, 15, 5, None]
    assert [span.kind for span in spans] == ["interrupted", "done", "done", "done"]
    clock = Clock.of(spans)
    [(at, idle)] = clock.cuts
    assert idle == timedelta(hours=24, minutes=-110).total_seconds()
    assert clock.at(second.end) < at < clock.at(later.start) < timedelta(hours=4).total_seconds()
    report = (folder(roots) / "report.md").read_text()
    assert "wait in the queue: 10 min (median; longest 15 min)" in report
    assert "idle time is cut out at the dashed lines" in report


def test_an_attempt_that_was_killed_has_no_invented_length():
    """Its end is not known."""
    open_end = attempt(None).model_copy(update={"end": None})
    row = Row("a_1", "failed", Path("x"), "killed", attempts=(open_end,))
    [span] = spans_of([row], [])
    assert (span.end, span.kind) == (span.start, "failed")


def test_a_generation_experiment_counts_samples(roots, capsys):
    """Samples are added up; no PSNR, no empty column; the files have names of their own."""
    for scene, samples in (("a_1", 21), ("a_2", 14)):
        record(roots, scene, output_subdir="difix_data")
        shard = roots.output_folder(scene, "exp", "difix_data") / "shard.json"
        shard.write_text(json.dumps({"statistics": {"samples": samples, "dropped": 1}}))
    assert main(["--exp-name", "exp"]) == 0
    report = (folder(roots) / "difix_data_report.md").read_text()
    assert "| scene | state | attempts | time | samples | dropped |" in report
    assert "| total | 2 done |  |  | 35 | 2 |" in report
    assert "PSNR" not in report
    assert (folder(roots) / "difix_data_samples_by_scene.png").is_file()
    assert not (folder(roots) / "report.md").exists()
    assert "total  2 done" in capsys.readouterr().out


def test_planned_scenes_that_never_started_are_in_the_report(roots):
    """The experiment's plans name them."""
    planned(roots, "a_1", "a_2")
    record(roots, "a_1", psnr=20.0)
    assert main(["--exp-name", "exp"]) == 0
    assert "- a_2: not started, log:" in (folder(roots) / "report.md").read_text()


def test_the_launcher_and_the_flows_aggregate_write_it(lab):
    """Both end with the same report, from the plan that ran."""
    for name in ("a_1", "a_2"):
        lab.add_scene(name)
    result = lab.run("--run-all", "--overrides", "do=fail", "only=a_2")
    written = lab.root / "results/_experiments/exp"
    plots = {"psnr_by_scene.png", "duration_by_scene.png", "gantt.png"}
    files = {"report.html", "report.md", "metrics.csv", *plots}
    assert {path.name for path in written.iterdir()} == files
    assert f"page: {written / 'report.html'}" in result.stdout
    report = (written / "report.md").read_text()
    assert "a_2: failed (trainer_error)" in report
    assert "wait in the queue" not in report  # one machine has none
    assert "hours of training" in report  # no GPU here
    for path in written.iterdir():
        path.unlink()
    [plan] = (lab.root / "state/plans").glob("*.json")
    assert aggregate_experiment(Plan.model_validate_json(plan.read_bytes())).endswith("report.md")
    assert {path.name for path in written.iterdir()} == files


def test_the_command_needs_no_server_and_starts_fast():
    """Neither Prefect, Dask nor torch is imported, and no plotting library before a plot."""
    heavy = "{'prefect', 'dask', 'distributed', 'torch', 'matplotlib', 'PIL', 'hydra'}"
    code = f"import sys, flows.report; print({heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "set()\n", result.stderr
