"""Tables fit a terminal: columns are left out, names are cut, nothing wraps."""

from __future__ import annotations

import pytest

from training.system import text_table
from training.system.text_table import TextColumn, display_width, fit, shortened

NAMES = ("synthetic_pair01_wave", "hi4d_pair17_dance")
COLUMNS = (
    TextColumn("scene", NAMES),
    TextColumn("state", ("done", "failed"), meaning=str),
    TextColumn("cause", ("", "timeout"), 1),
    TextColumn("node", ("", ""), 2),
    TextColumn("log", ("/results/a/train.log", "/results/b/train.log"), 9),
)


def headings(width):
    return fit(COLUMNS, width).lines[0].split()


def test_a_file_gets_all_columns_but_empty_ones():
    table = fit(COLUMNS, None)
    assert table.lines == [
        "scene                  state   cause    log",
        "synthetic_pair01_wave  done             /results/a/train.log",
        "hi4d_pair17_dance      failed  timeout  /results/b/train.log",
    ]
    assert table.note == []


def test_columns_leave_in_their_order_and_are_named():
    """The least needed first; scene and state always stay."""
    assert headings(59) == ["scene", "state", "cause"]
    assert headings(35) == ["scene", "state"]
    assert fit(COLUMNS, 35).note == ["left out: cause, log (… | cat shows all)"]


@pytest.mark.parametrize("width", [1, 8, 20, 28, 35, 59, 60, 200])
def test_no_line_is_wider_than_the_terminal(width):
    """Of 20 columns, or fewer; a Chinese character takes two."""
    wide = [TextColumn("scene", (*NAMES, "北京" * 9)), TextColumn("state", ("done",) * 3)]
    assert all(display_width(line) <= width for line in fit(wide, width).lines)
    assert all(display_width(line) <= width for line in fit(COLUMNS, width).lines)


def test_names_keep_both_ends():
    """Scenes of a data set begin alike."""
    lines = fit(COLUMNS, 20).lines
    assert lines[1] == "synthe…_wave  done"
    assert shortened("süß_北京_wave", 9) == "süß_…wave"


def test_cells_are_coloured_by_what_they_mean(monkeypatch):
    """The colour takes no place; a table that is cut has none."""
    monkeypatch.setattr(
        text_table, "painted", lambda text, meaning: f"<{meaning}>{text}" if meaning else text
    )
    line = fit(COLUMNS, None).lines[1]
    assert "synthetic_pair01_wave  <done>done             /results" in line
    cut = [TextColumn("scene", ["a" * 99]), TextColumn("state", ["done"], meaning=str)]
    assert "<" not in fit(cut, 12).lines[1]
