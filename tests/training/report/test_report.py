"""The experiment's report: made from records, it names what is wrong and fetches nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from flows.report import main
from flows.runner.tasks import aggregate_experiment
from training.plan.model import Plan, ScenePlan
from training.records.record import Attempt, Cause, RunRecord, status_of, write_record
from training.report import experiment_report, write
from training.report.plots.charts import MOST_NAMED
from training.report.plots.timeline import Clock, spans_of
from training.report.scene_rows import Row
from training.report.settings import changed_settings
from training.report.summary import summarise, table
from training.system.paths import Roots

CHECKOUT = Path(__file__).resolve().parents[3]
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
BEFORE = {"psnr": 16.0, "mpjpe_mm": 60.0}


@pytest.fixture
def roots(tmp_path, monkeypatch):
    made = Roots(
        results_root=tmp_path / "results", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )
    monkeypatch.setenv("TS_RESULTS_ROOT", str(made.results_root))
    monkeypatch.setenv("TS_STATE_ROOT", str(made.state_root))
    return made


def attempt(cause, begin=0, minutes=60, *, message="", job="", host="n1"):
    start = START + timedelta(minutes=begin)
    return Attempt(
        start=start,
        end=start + timedelta(minutes=minutes),
        host=host,
        pid=1,
        cause=cause,
        message=message,
        slurm_job_id=job,
    )


def record(
    roots, scene, *attempts, exp_name="exp", output_subdir="", configuration=None, **metrics
):
    """Write the record of a scene; without attempts, one that took an hour and is done."""
    attempts = attempts or (attempt(Cause.OK),)
    status = status_of(attempts[-1].cause)
    made = RunRecord(scene=scene, exp_name=exp_name, fingerprint="f", status=status)
    update = {"attempts": attempts, "metrics": metrics, "configuration": configuration or {}}
    made = made.model_copy(update=update)
    write_record(roots.output_folder(scene, exp_name, output_subdir), made)


def planned(roots, *names, created=START, exp_name="exp", output_subdir=""):
    """Write a plan that was started into the state root."""
    scenes = [
        ScenePlan(
            name=name,
            exp_name=exp_name,
            scene={},
            scene_file=Path("x"),
            action="run",
            reason="",
            command=("python",),
            environment={},
            output=roots.output_folder(name, exp_name, output_subdir),
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=1,
            cancelled=Path("x"),
        )
        for name in names
    ]
    plan = Plan(
        plan_id=f"{exp_name}-{created.strftime('%Y%m%dT%H%M%S.%f')}",
        created=created,
        exp_name=exp_name,
        output_subdir=output_subdir,
        roots=roots,
        scenes=tuple(scenes),
        workers=1,
        gpus=("0",),
        max_retries=0,
        max_failures=0,
    )
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    plan.file.write_text(plan.model_dump_json())
    return plan


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.addresses, self.shown = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.shown += data


def folder(roots):
    return roots.experiment_folder("exp")


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


def test_two_experiments_are_compared_scene_by_scene(roots, capsys):
    """Differences and averages of scenes that both have numbers of; the others are named."""
    for scene, ours, theirs in (("a_1", 22.0, 20.0), ("a_2", 21.0, 22.0)):
        record(roots, scene, psnr=ours, ssim=0.9, mpjpe_mm=10.0)
        record(roots, scene, exp_name="old", psnr=theirs, ssim=0.8, mpjpe_mm=12.0)
    record(roots, "a_3", psnr=99.0)
    record(roots, "a_4", exp_name="old", psnr=99.0)
    record(roots, "a_5", attempt(Cause.TIMEOUT))
    record(roots, "a_5", exp_name="old", psnr=99.0)
    assert main(["--exp-name", "exp", "--compare", "old"]) == 0
    report = (folder(roots) / "compare_old.md").read_text()
    line = "| a_1 | 20.00 | 22.00 | +2.00 | 0.8000 | 0.9000 | +0.1000 | 12.00 | 10.00 | -2.00 |"
    assert line in report
    assert "| average | 21.00 | 21.50 | +0.50 | 0.8000 | 0.9000 | +0.1000 |" in report
    assert "better in 1 of 2 scenes" in report
    assert "Not known of exp, old" in report
    for line in ("a_3: only in exp", "a_4: only in old", "a_5: failed (timeout) in exp, done in"):
        assert line in report
    with (folder(roots) / "compare_old.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert (first["scene"], first["psnr_old"], first["psnr_difference"]) == ("a_1", "20.0", "2.0")
    assert (folder(roots) / "compare_old_psnr.png").is_file()
    assert "a_3: only in exp" in capsys.readouterr().out


def test_any_number_of_experiments_is_compared(roots, capsys):
    """First in which settings they differ; exact differences; pictures of a scene side by side."""
    own = {"(script)": "simple_multi_human_trainer.py", "model.sh_degree": 0}
    psnr = {"exp": 20.049, "base": 20.151, "third": 21.0}
    for seed, (name, value) in enumerate(psnr.items()):
        configuration = {**own, "seed": seed}
        record(
            roots, "a_1", exp_name=name, configuration=configuration, psnr=value, picture="c.png"
        )
        Image.new("RGB", (30, 20)).save(roots.output_folder("a_1", name) / "c.png")
    assert main(["--exp-name", "exp", "--compare", "base", "third"]) == 0
    report = (folder(roots) / "compare_base_and_third.md").read_text()
    assert report.index("| seed | 0 | 1 | 2 |") < report.index("| base | 20.15 | -0.10 |")
    assert "sh_degree" not in report
    assert "PSNR dB, best: 21.00 (third)" in report
    page = Page(folder(roots) / "compare_base_and_third.html")
    assert sum(each.startswith("data:image/jpeg") for each in page.addresses) == 3
    with (folder(roots) / "compare_base_and_third.csv").open() as stream:
        (line,) = csv.DictReader(stream)
    assert float(line["psnr_minus_base"]) == pytest.approx(-0.102)
    assert "seed     0    1     2" in capsys.readouterr().out


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


def test_tables_are_written_for_latex_and_plots_with_vectors(roots):
    """Names are escaped, a number's sign is a minus, scenes that are not done are left out."""
    for name, value in (("a_1", 20.0), ("a_50%#1", 22.0)):
        record(roots, name, psnr=value)
        record(roots, name, exp_name="old", psnr=value + 0.5)
    record(roots, "c_3", attempt(Cause.TIMEOUT))
    assert main(["--exp-name", "exp", "--compare", "old", "--format", "latex", "pdf", "svg"]) == 0
    lines = (folder(roots) / "table.tex").read_text().splitlines()
    assert [lines[1], lines[3]] == [r"\begin{tabular}{lr}", r"scene & PSNR dB \\"]
    assert r"a\_50\%\#1 & 22.0 \\" in lines
    assert lines[-4:] == [r"\midrule", r"average & 21.0 \\", r"\bottomrule", r"\end{tabular}"]
    assert "$-0.50$" in (folder(roots) / "compare_old.tex").read_text()
    assert (folder(roots) / "psnr_by_scene.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (folder(roots) / "compare_old_psnr.svg").read_text()
    assert main(["--exp-name", "exp", "--format", "latx"]) == 2


def test_the_settings_of_another_trainer_are_its_recorded_overrides():
    """Without the launcher's own arguments; what Hydra composed from them is not repeated."""
    command = "TS_X=1 python my.py shared.scene_name=a shared.exp_name='e 1' +lr=0.1 'note=a b'"
    found = changed_settings({"(script)": "my.py", "lr": 0.1, "width": 64}, command)
    assert found == {"lr": "0.1", "note": "a b"}


def test_a_report_as_json_has_rows_and_averages(roots, capsys):
    """Exact numbers, states and changed settings, of both experiments; no file is written."""
    settings = {"(script)": "simple_multi_human_trainer.py", "seed": 7, "model.sh_degree": 0}
    record(roots, "a_1", psnr=20.123456789, samples=3)
    record(roots, "a_2", configuration=settings, psnr=22.0, samples=4)
    record(roots, "a_3", attempt(Cause.TIMEOUT, message="too slow"))
    record(roots, "a_1", exp_name="old", psnr=19.0)
    assert main(["--exp-name", "exp", "--json", "--compare", "old"]) == 0
    content = json.loads(capsys.readouterr().out)
    first, second, third, old = content["rows"]
    assert (first["metrics"]["psnr"], second["settings"]) == (20.123456789, {"seed": 7})
    assert (third["state"], third["cause"], third["message"]) == ("failed", "timeout", "too slow")
    assert (old["experiment"], old["metrics"]) == ("old", {"psnr": 19.0})
    exp, _ = content["averages"]
    assert (exp["scenes"], exp["done"], exp["metrics"]["samples"]) == (3, 2, 7)
    assert exp["metrics"]["psnr"] == pytest.approx(21.0617283945)
    assert not folder(roots).exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--exp-name", "exq"], "no such experiment: exq\n    -> did you mean exp"),
        (["--exp-name", "exp", "--compare", "odl"], "no such experiment: odl\n    -> did you mean"),
        (["--exp-name", "exq", "--compare", "odl"], "exp?\nno such experiment: odl"),
        (["--exp-name", "exq", "--json", "--compare", "odl"], "exp?\nno such experiment: odl"),
        (["--exp-name", "exp", "--compare", "exp"], "--compare names the experiment itself"),
        (["--exp-name", "../exp"], "--exp-name is not valid"),
        (["--exp-nam", "exp"], "--exp-name"),
    ],
)
def test_a_mistyped_name_is_a_fault(roots, capsys, flags, message):
    """Exit status 2 with the nearest names; nothing is written."""
    record(roots, "a_1")
    record(roots, "a_1", exp_name="old")
    assert main(flags) == 2
    assert message in capsys.readouterr().err
    assert not (roots.results_root / "_experiments").exists()


def test_the_page_is_self_contained_and_escapes_what_it_shows(roots):
    """All pictures are embedded; text of logs and names is never markup."""
    evil = '<script>alert(1)</script> | "&amp;" \x1b[31mred\x1b[0m \x00'
    record(
        roots,
        "a_<b>$x_1",
        psnr=20.0,
        picture="evaluation/c.png",
        picture_views=[{"camera": 4, "frame": 7, "psnr": 21.5}],
        animations={"turntable": "evaluation/t.webp", "fly_along": "../../secret.webp"},
    )
    record(roots, "a_2", attempt(Cause.TRAINER_ERROR, message=evil))
    picture = roots.output_folder("a_<b>$x_1", "exp") / "evaluation/c.png"
    picture.parent.mkdir()
    Image.new("RGB", (2400, 600)).save(picture)
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(picture.with_name("t.webp"), save_all=True, append_images=frames[1:])
    summary = summarise(roots, "exp", [])
    page, text = Page(summary.page), summary.page.read_text()
    assert len(page.addresses) == 5  # three plots, one picture, one animation
    (animation,) = [each for each in page.addresses if each.startswith("data:image/webp;base64,")]
    with Image.open(io.BytesIO(base64.b64decode(animation.partition(",")[2]))) as film:
        assert film.n_frames == 2
    assert "PSNR 20.0 dB over all evaluated views; from the top: camera 4, frame 7: 21.5 dB" in (
        page.shown
    )
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "b", "iframe"} & set(page.tags)
    assert "http" not in text.split("</style>")[1]
    assert "url(" not in text
    assert "@import" not in text
    assert '<script>alert(1)</script> | "&amp;" red' in page.shown
    assert "a_<b>$x_1" in page.shown
    report = summary.report.read_text()
    assert "<script" not in report
    assert "<b>" not in report


def test_a_picture_outside_the_scenes_folder_is_not_shown(roots):
    """A record can't make the page show another file."""
    secret = roots.results_root / "secret.png"
    secret.parent.mkdir()
    Image.new("RGB", (8, 8)).save(secret)
    record(roots, "a_1", psnr=20.0, picture="../../secret.png")
    summary = summarise(roots, "exp", [])
    assert summary.rows[0].picture is None
    assert Page(summary.page).addresses == []


def test_a_plot_that_fails_costs_no_summary(roots, monkeypatch, capsys):
    """The others are drawn, the older file is deleted, and one line says what is missing."""
    for scene in ("a_1", "a_2"):
        record(roots, scene, psnr=20.0)
    summarise(roots, "exp", [])

    def broken(_spans):
        raise ZeroDivisionError("no time at all")

    monkeypatch.setattr(write, "gantt", broken)
    summary = summarise(roots, "exp", [])
    assert [path.name for path in summary.plots] == ["psnr_by_scene.png", "duration_by_scene.png"]
    assert not (folder(roots) / "gantt.png").exists()
    line = "not drawn: gantt (ZeroDivisionError: no time at all)"
    assert line in summary.report.read_text()
    assert line in capsys.readouterr().err


def test_without_a_plotting_library_there_is_a_summary(roots, monkeypatch, capsys):
    """Numbers, text and page are complete; one line says what could not be drawn."""
    for scene in ("a_1", "a_2"):
        record(roots, scene, psnr=20.0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    summary = summarise(roots, "exp", [])
    assert summary.plots == ()
    assert "2 of 2 scenes done" in Page(summary.page).shown
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("report: not drawn: psnr_by_scene, duration_by_scene, gantt (Module")


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


def test_a_thousand_scenes_are_binned_and_few_pictures_shown(roots):
    """Plots say that names are left out; the worst, middle and best pictures are shown."""
    names = [f"set{place % 3}_scene{place:04d}" for place in range(1000)]
    planned(roots, *names)
    for place, name in enumerate(names):
        start = attempt(Cause.OK, begin=place, job=str(place), host=f"n{place % 8}")
        record(roots, name, start, psnr=15 + place / 100, before=BEFORE, picture="c.png")
    summary = summarise(roots, "exp", names)
    report = summary.report.read_text()
    assert "1000 of 1000 scenes done" in report
    assert "1,000 scenes: best first, without names" in report
    assert "8 machines (named on the right); 1000 Slurm jobs; too many scenes for names" in report
    assert report.index("## Averages") < report.index("## Plots") < report.index("## Scenes")
    assert report.count("![set") == experiment_report.MOST_PICTURES
    assert len(summary.plots) == 3
    assert all(Image.open(path).height < 1200 for path in summary.plots)


def test_plots_keep_names_up_to_a_bound(roots):
    """A plot of as many scenes has their names, and is high enough for them."""
    names = [f"a_{place:02d}" for place in range(MOST_NAMED)]
    for name in names:
        record(roots, name, psnr=20.0)
    summary = summarise(roots, "exp", [])
    assert "without names" not in summary.report.read_text()
    assert all(Image.open(path).height > 15 * len(names) for path in summary.plots)


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
