"""Experiments beside each other, as tables, LaTeX and JSON."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image
from report_lab import Page, attempt, folder, record

from flows.report import main
from training.records.record import Cause


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


def test_a_narrow_terminal_keeps_the_difference(roots, capsys, monkeypatch):
    """Long names, such as those of a sweep's settings, leave before it."""
    monkeypatch.setattr("training.report.comparison_page.terminal_width", lambda: 60)
    for name, psnr in (("exp", 22.0), ("a-former-setting", 20.0)):
        record(roots, "a_1", exp_name=name, psnr=psnr, ssim=0.9)
    assert main(["--exp-name", "exp", "--compare", "a-former-setting"]) == 0
    out = capsys.readouterr().out
    assert "scene    PSNR dB exp  PSNR dB difference\na_1      22.00        +2.00\n" in out
    assert "left out: PSNR dB a-former-setting, SSIM a-former-setting, SSIM exp" in out


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
        (["--exp-nam", "exp"], "unknown argument: --exp-nam\n    -> did you mean --exp-name?\nthe"),
    ],
)
def test_a_mistyped_name_is_a_fault(roots, capsys, flags, message):
    """Exit status 2 with the nearest names; nothing is written."""
    record(roots, "a_1")
    record(roots, "a_1", exp_name="old")
    assert main(flags) == 2
    assert message in capsys.readouterr().err
    assert not (roots.results_root / "_experiments").exists()
