"""Reports as JSON, for programs: a row for each scene of an experiment, and the averages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from training.plan.sweep import parameters_of
from training.report.metrics import combined_numbers
from training.report.scene_rows import Row

Report = tuple[str, str, Sequence[Row]]
"""An experiment, the output subfolder of its run mode ("" for training), its rows."""


def to_json(reports: Sequence[Report]) -> str:
    """Return reports as JSON, numbers with all their digits.

    `rows`: a list with what is known of each scene of each experiment. `averages`: a list with one
    entry for each experiment, over its done scenes; counts of samples are added up. Each setting of
    a sweep is an experiment.
    """
    reports = [part for report in reports for part in _by_setting(*report)]
    rows = [_row(name, subdir, row) for name, subdir, scenes in reports for row in scenes]
    averages = [_averages(*report) for report in reports]
    return json.dumps({"rows": rows, "averages": averages}, indent=1, default=str)


def _by_setting(exp_name: str, output_subdir: str, rows: Sequence[Row]) -> list[Report]:
    """Return the reports of a sweep's settings; of another experiment its own."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault("/".join(filter(None, [exp_name, row.setting])), []).append(row)
    return [(name, output_subdir, each) for name, each in found.items()] or [
        (exp_name, output_subdir, rows)
    ]


def _row(exp_name: str, output_subdir: str, row: Row) -> Mapping[str, Any]:
    return {
        "experiment": exp_name,
        "output_subdir": output_subdir,
        "scene": row.scene_name,
        "dataset": row.dataset,
        "state": row.state,
        "cause": row.cause,
        "attempts": len(row.attempts),
        "seconds": round(row.total_s, 1),
        "message": row.message,
        "log": str(row.log),
        "swept": parameters_of(row.setting),
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
