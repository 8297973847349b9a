"""The table of columns: one entry is a column of every table of scenes."""

from __future__ import annotations

import csv
import json

import pytest
from page_lab import end, page_state_of, planned

from flows.run_page.content import RunFacts, table
from training.records.record import now
from training.report import metrics
from training.report.comparison import compare
from training.report.comparison_page import write_comparison
from training.report.metrics import ONLY_IN_REPORT, Column, numbers_of, used_columns
from training.report.summary import summarise
from training.report.summary import table as terminal_table

SHARPNESS = Column("sharpness", "sharpness", "lp/mm", digits=2)


@pytest.fixture
def plan(tmp_path):
    """Two done scenes, whose trainer writes a number that no column is for."""
    plan = planned(tmp_path, "a_1", "a_2")
    for scene, sharpness in zip(plan.scenes, (7.125, 8.125), strict=True):
        end(page_state_of(plan), scene, sharpness=sharpness)
    return plan


def test_a_column_is_one_entry(plan, monkeypatch):
    """Report, CSV, terminal, run page and comparison show it, each with the mean that it has."""
    monkeypatch.setattr(metrics, "COLUMNS", (*metrics.COLUMNS, SHARPNESS))
    summary = summarise(plan.roots, "exp", [])
    report, page = summary.report.read_text(), summary.page.read_text()
    assert "| scene | state | attempts | time | sharpness lp/mm |" in report
    assert "| average | 2 done |  |  | 7.62 |" in report
    assert "sharpness lp/mm" in page
    with summary.metrics_csv.open() as stream:
        assert [row["sharpness"] for row in csv.DictReader(stream)] == ["7.125", "8.125"]
    head = terminal_table(plan.roots, "exp", []).splitlines()[1]
    assert head.split() == ["scene", "state", "attempts", "time", "sharpness", "lp/mm"]
    rows = page_state_of(plan).rows(now(), is_over=True)
    assert [row["sharpness lp/mm"] for row in table(RunFacts.of(plan), rows)] == ["7.12", "8.12"]
    compared = write_comparison(plan.roots, compare([("exp", rows), ("other", rows)]))
    assert "sharpness lp/mm other" in compared.text


def test_a_column_is_shown_where_its_entry_says(plan, monkeypatch):
    """One for the report alone does not widen the run page."""
    column = Column("sharpness", "sharpness", shown_in=ONLY_IN_REPORT)
    monkeypatch.setattr(metrics, "COLUMNS", (column,))
    assert "sharpness" in summarise(plan.roots, "exp", []).report.read_text()
    rows = page_state_of(plan).rows(now(), is_over=True)
    assert "sharpness" not in json.dumps(table(RunFacts.of(plan), rows))


def test_a_terminal_shows_a_few_columns_and_the_report_all(plan):
    """A scene with every number fits a terminal of 120 characters; a pose error is among them."""
    counts = ("samples", "dropped")
    every = {each.key: 0.5 for each in metrics.COLUMNS if each.key not in counts}
    for scene in plan.scenes:
        end(page_state_of(plan), scene, **every, before={"psnr": 0.1, "mpjpe_mm": 80.0})
    summary = summarise(plan.roots, "exp", [])
    report = summary.report.read_text()
    for name in ("PSNR true poses dB", "SSIM people", "FLIP", "mask IoU", "PA-MPJPE mm", "MVE mm"):
        assert f"| {name} |" in report
    head = terminal_table(plan.roots, "exp", []).splitlines()[1]
    assert head.split("  ")[-1].strip() == "RR-MPJPE mm"
    assert "MVE" not in head
    assert len(head) < 120 - len("synthetic_pair02_dance")
    compared = write_comparison(plan.roots, compare([("exp", rows(plan)), ("other", rows(plan))]))
    page = next(file for file in compared.files if file.suffix == ".md").read_text()
    assert "FLIP exp" in page
    assert "FLIP" not in compared.text


def test_metrics_of_earlier_versions_are_shown(plan):
    """They lack what evaluations measure now: those columns are left out."""
    old = {"psnr": 20.0, "ssim": 0.9, "lpips": None, "mpjpe_mm": 24.0, "lpips_reason": "no weights"}
    for scene in plan.scenes:
        end(page_state_of(plan), scene, **old, before={"psnr": 16.0, "mpjpe_mm": 69.0})
    head = next(
        line
        for line in summarise(plan.roots, "exp", []).report.read_text().splitlines()
        if line.startswith("| scene")
    )
    assert "| PSNR dB | gain dB | SSIM | MPJPE mm | before mm |" in head


def rows(plan):
    return page_state_of(plan).rows(now(), is_over=True)


def test_a_derived_number_is_in_tables_and_csv(plan):
    """What training gained is after minus before; the trainer writes only these two."""
    end(page_state_of(plan), plan.scenes[0], psnr=20.5, before={"psnr": 16.0})
    summary = summarise(plan.roots, "exp", [])
    assert "| a_1 | done | 1 | 60 min | 20.5 | 4.5 |" in summary.report.read_text()
    with summary.metrics_csv.open() as stream:
        first, second = csv.DictReader(stream)
    assert (first["psnr_gain"], first["before_psnr"]) == ("4.5", "16.0")
    assert second["psnr_gain"] == ""


@pytest.mark.parametrize("before", [3, None, {"psnr": "bad"}, {"psnr": float("nan")}])
def test_another_trainers_metrics_may_mean_anything(before):
    """Texts, missing and infinite numbers, or another `before` give no number and no error."""
    numbers = numbers_of({"psnr": 20.0, "ssim": "good", "mpjpe_mm": float("inf"), "before": before})
    assert numbers.keys() - {"before"} == {"psnr"}


def test_columns_without_a_number_are_left_out():
    """In the order of the table, whatever the order of the trainer's keys."""
    found = used_columns([{"ssim": 0.5}, {"psnr": 20.0}])
    assert [column.key for column in found] == ["psnr", "ssim"]


def test_a_number_of_another_trainer_is_a_column_by_itself():
    """After the known ones; a terminal shows a few; other numbers of the own trainer have none."""
    more = {f"m{number}": 0.5 for number in range(6)}
    numbers = [{"seed": 1, "smpl_mpjpe_mm": 2.0, **more, "psnr": 20.0}]
    assert [each.key for each in used_columns(numbers)] == ["psnr", *more]
    assert [each.key for each in used_columns(numbers, "terminal")] == ["psnr", *list(more)[:4]]


def test_counts_are_added_up_and_other_numbers_averaged():
    """Over the scenes that have the number."""
    scenes = [{"psnr": 20.0, "samples": 3}, {"psnr": 22.0}, {"samples": 4}]
    combined = {each.key: each.combined(scenes) for each in metrics.COLUMNS}
    assert (combined["psnr"], combined["samples"], combined["ssim"]) == (21.0, 7, None)
