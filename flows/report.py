"""Write the report of an experiment from its records: `python -m flows.report --help`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":
    from preprocess.interpreter import LAUNCHER, require

    require(LAUNCHER)

from pydantic import BaseModel, ConfigDict, field_validator

from preprocess.faults import Fault, unusable_paths_refused
from training.cli.parser import parse_options, reporting_faults
from training.plan.checks import FaultCollector
from training.plan.option_types import folder_name
from training.plan.options import Flag, LaunchOptions, flag_of
from training.report.as_json import to_json
from training.report.comparison import compare
from training.report.comparison_page import write_comparison
from training.report.known import scenes_by_subdir
from training.report.scene_rows import collect
from training.report.summary import summarise, table
from training.report.write import Format
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.paths import Roots, resolve_roots
from training.system.text_table import terminal_width
from training.system.typed_command import spelled

Scenes = dict[str, list[str]]
"""Names of scenes by output subfolder."""
DESCRIPTION = "Write the report of an experiment from its records: page, table, plots."


class ReportOptions(BaseModel):
    """Which experiment to report, and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exp_name: Annotated[str, Flag("What to report", "--exp-name my_exp")]
    """The experiment; its report goes to <results>/_experiments/<experiment>/."""

    compare: Annotated[
        tuple[str, ...],
        Flag("What to report", "--compare other_exp another_exp", needs_items=True),
    ] = ()
    """Other experiments of the same result root, to set beside it, scene by scene."""

    formats: Annotated[
        tuple[Format, ...], Flag("What to report", "--format latex pdf", "--format")
    ] = ()
    """Formats besides page, Markdown, CSV and PNG: latex (tables for the package booktabs), pdf,
    svg (plots)."""

    as_json: Annotated[bool, Flag("What to report", "--json", "--json")] = False
    """Print the report as JSON, and write no file: rows (a scene each, with state, settings that
    differ from the defaults, and metrics) and averages."""

    results_root: Annotated[str, flag_of("results_root", LaunchOptions)] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    state_root: Annotated[str, flag_of("state_root", LaunchOptions)] = ""
    """Where plans are (TS_STATE_ROOT), from which it is known how long scenes waited."""

    @field_validator("exp_name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        return folder_name(value)

    @field_validator("compare")
    @classmethod
    def _names_are_folder_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(folder_name, dict.fromkeys(value)))


def main(argv: Sequence[str] | None = None) -> int:
    """Write and print the report; return 0 when all was written, even if scenes have failed."""
    return reporting_faults(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    options = parse_options(argv, ReportOptions, spelled("report"), DESCRIPTION)
    try:
        report(options)
    except OSError as error:
        say(f"the report can't be written: {error}", sys.stderr)
        return FAILED
    return DONE


def report(options: ReportOptions) -> None:
    """Write and print the report, and the comparison if there is one; or print them as JSON.

    Raises FaultsError before anything is written, OSError when a file can't be written.
    """
    flags = {"results_root": options.results_root, "state_root": options.state_root}
    roots = resolve_roots(flags)
    if options.as_json:
        with unusable_paths_refused():
            said = _as_json(options, roots)
        say(said)
        return
    with unusable_paths_refused():
        ours, others = _scenes_to_report(options, roots)
    for output_subdir, scenes in ours.items():
        written = summarise(roots, options.exp_name, scenes, output_subdir, options.formats)
        experiment = roots, options.exp_name, scenes, output_subdir
        say(table(*experiment, written.rows, width=terminal_width()))
        _say_paths(written.files)
        found = [
            (name, each[output_subdir]) for name, each in others.items() if output_subdir in each
        ]
        if found:
            rows = [(name, collect(roots, name, each, output_subdir)) for name, each in found]
            compared = compare([(options.exp_name, written.rows), *rows])
            result = write_comparison(roots, compared, output_subdir, options.formats)
            say("\n".join([result.text, *result.notes]))
            _say_paths(result.files)


def _as_json(options: ReportOptions, roots: Roots) -> str:
    faults = FaultCollector()
    found = {
        name: faults.collect(scenes_by_subdir, name, roots) or {}
        for name in (options.exp_name, *options.compare)
    }
    faults.raise_found()
    return to_json(
        [
            (name, output_subdir, collect(roots, name, scenes, output_subdir))
            for name, by_subdir in found.items()
            for output_subdir, scenes in by_subdir.items()
        ]
    )


def _scenes_to_report(options: ReportOptions, roots: Roots) -> tuple[Scenes, dict[str, Scenes]]:
    """Return the experiment's scenes, and those of each to compare; raises FaultsError."""
    faults, found = FaultCollector(), dict[str, Scenes]()
    ours = faults.collect(scenes_by_subdir, options.exp_name, roots) or {}
    for name in options.compare:
        if name == options.exp_name:
            what = "--compare names the experiment itself"
            faults.add([Fault(what, name, "name another one")])
        elif theirs := faults.collect(scenes_by_subdir, name, roots):
            found[name] = theirs
            if ours and not ours.keys() & theirs.keys():
                what = f"{options.exp_name} and {name} have nothing in common to compare"
                faults.add([Fault(what, remedy="one is a training, the other made DiFix data")])
    faults.raise_found()
    return ours, found


def _say_paths(paths: Iterable[Path]) -> None:
    say("\n".join(f"wrote {path}" for path in paths))


if __name__ == "__main__":
    sys.exit(main())
