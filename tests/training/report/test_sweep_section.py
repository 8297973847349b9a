"""What a report says of a sweep, from rows."""

from __future__ import annotations

from pathlib import Path

from training.report.plots.heat_map import heat_map
from training.report.scene_rows import Row
from training.report.sweep_section import best_settings, groups_of, sweep_section, sweep_table


def row(setting, psnr=None, mpjpe=1.0, scene="hi4d_1"):
    """A row of a scene with a setting; not done without a number."""
    metrics = {} if psnr is None else {"psnr": psnr, "mpjpe_mm": mpjpe}
    state = "failed" if psnr is None else "done"
    return Row(f"{setting}/{scene}", state, Path("log"), metrics=metrics)


ROWS = (
    row("epochs=100,depth=0.1,seed=1", 20.0, 9.0),
    row("epochs=100,depth=0.1,seed=2", 24.0, 9.0),
    row("epochs=30,depth=0.1,seed=1", 21.0, 3.0),
    row("epochs=30,depth=0.1,seed=2", 21.0, 3.0),
    row("epochs=30,depth=0.2,seed=1", 40.0, 1.0),
    row("epochs=30,depth=0.2,seed=2"),
)


def test_seeds_and_scenes_are_averaged_and_numbers_are_in_order():
    table = sweep_table(groups_of(ROWS), "run page")
    assert table.head == ["epochs", "depth", "done", "PSNR dB"]
    assert table.lines == [
        ["30", "0.1", "2 of 2", "21.0 ± 0.0"],
        ["30", "0.2", "1 of 2", "40.0"],
        ["100", "0.1", "2 of 2", "22.0 ± 2.8"],
    ]


def test_the_best_is_chosen_among_complete_settings():
    """Lower is better for errors; a single lucky scene wins nothing."""
    best = {item.name: item.text for item in best_settings(groups_of(ROWS))}
    assert best["best PSNR dB"] == "epochs=100,depth=0.1: 22.0 ± 2.8"
    assert best["best MPJPE mm"] == "epochs=30,depth=0.1: 3.0 ± 0.0"


def test_a_setting_of_fewer_scenes_is_not_the_best():
    """It may have the easy ones; the report says so."""
    rows = [row("e=1", 20.0), row("e=1", 10.0, scene="hi4d_2"), row("e=2", 19.0)]
    (best, *_) = best_settings(groups_of(rows))
    assert best.text.startswith("e=1: 15.0")
    assert "scenes are missing" in sweep_section(rows)[1].text


def test_seeds_alone_are_one_setting():
    groups = groups_of([row("seed=1", 20.0), row("seed=2", 22.0)])
    assert [group.name for group in groups] == ["all"]
    assert not best_settings(groups)
    assert heat_map([row("seed=1", 20.0)]) is None


def test_the_heat_map_has_a_cell_for_each_setting():
    made = heat_map(ROWS).axes
    assert [label.get_text() for label in made.get_xticklabels()] == ["0.1", "0.2"]
    assert [label.get_text() for label in made.get_yticklabels()] == ["epochs=30", "epochs=100"]
    assert sorted(text.get_text() for text in made.texts) == ["21.0", "22.0", "40.0"]


def test_other_experiments_have_no_such_section():
    assert not sweep_section([Row("hi4d_1", "done", Path("log"))])
