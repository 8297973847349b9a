"""Reports as JSON, for programs: a row for each scene of an experiment, and the averages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from training.report.metrics import combined_numbers
from training.report.scene_rows import Row

Report = tuple[str, str, Sequence[Row]]
"""An experiment, the output subfolder of its run mode ("" for training), its rows."""


def to_json(reports: Sequence[Report]) -> str:
    """Return reports as JSON, numbers with all their digits.

    `rows`: a list with what is known of each scene of each experiment. `averages`: a list with one
    entry for each experiment, over its done scenes; counts of samples are added up.
    """
    rows = [_row(name, subdir, row) for name, subdir, scenes in reports for row in scenes]
    averages = [_averages(*report) for report in reports]
    return json.dumps({"rows": rows, "averages": averages}, indent=1, default=str)


def _row(exp_name: str, output_subdir: str, row: Row) -> Mapping[str, Any]:
    return {
        "experiment": exp_name,
        "output_subdir": output_subdir,
        "scene": row.scene,
        "dataset": row.dataset,
        "state": row.state,
        "cause": row.cause,
        "attempts": len(row.attempts),
        "seconds": round(row.total_s, 1),
        "message": row.message,
        "log": str(row.log),
        "settings": row.settings,
        "metrics": row.numbers,
    }


def _averages(exp_name: str, output_subdir: str, rows: Sequence[Row]) -> Mapping[str, Any]:
    done = [row.numbers for row in rows if row.is_done]
    return {
        "experiment": exp_name,
        "output_subdir": output_subdir,
        "scenes": len(rows),
        "done": len(done),
        "metrics": combined_numbers(done),
    }
