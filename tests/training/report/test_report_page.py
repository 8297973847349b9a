"""The report's page, pictures and plots: self-contained, and none worth a summary."""

from __future__ import annotations

import base64
import io
import sys

from PIL import Image
from report_lab import BEFORE, Page, attempt, folder, planned, record

from training.records.record import Cause
from training.report import experiment_report, write
from training.report.plots.charts import MOST_NAMED
from training.report.summary import summarise


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
