"""Command lines: a plan, or a fault that names the flag; never a traceback."""

from __future__ import annotations

import json
import os

import pytest
from fuzz.experiment import output_of
from fuzz.mutations import NASTY, bounded, changed, edited
from fuzz.sizes import one_in
from hypothesis import example, given
from hypothesis import strategies as st

from flows import report
from flows.options import FlowOptions
from flows.parameters import option_values
from preprocess.faults import FaultsError
from training import run
from training.cli.parser import command_line_of, parse_options
from training.plan.options import LaunchOptions, checked_options, flag_name, flag_of

FIELDS = sorted(LaunchOptions.model_fields.keys() - {"watch", "logs", "cancel"})
NAMES = list(map(flag_name, FIELDS))
right = st.sampled_from(FIELDS).map(lambda field: flag_of(field, LaunchOptions).example.split())
undecodable = st.binary(max_size=4).map(os.fsdecode)
flags = st.one_of(
    right,
    right,
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NASTY) | undecodable).map(list),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NASTY) | undecodable).map(
        lambda pair: ["=".join(pair)]
    ),
    right.flatmap(lambda words: edited(words[-1], 1).map(lambda last: [*words[:-1], last])),
    st.sampled_from(NAMES).flatmap(lambda name: edited(name, 1)).map(lambda name: [name]),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    (folder / "a.json").write_text(json.dumps({"seq_name": "a", "cam_id": 1}))
    return folder


def in_place(folder):
    """Return flags that keep a command inside a folder; later flags of the same name win."""
    roots = (("results", "r"), ("scene-data", "d"), ("state", "s"))
    return [
        "--scenes-dir",
        str(folder),
        *(word for name, short in roots for word in (f"--{name}-root", str(folder / short))),
        *("--train-script", "tests/stand_in_trainer.py"),
    ]


@one_in(20)
@given(given=st.lists(flags, max_size=3))
@example([["--time-limit", "9" * 5000]])
@example([["--exp-name", "a\0b"]])
@example([["--scenes", "\udcff"]])
@example([["--overrides", "a=\udcff"]])
@example([["--results-root", "/\udcff"]])
@example([["--results-root", "a\0b"]])
@example([["--train-script", "a\0b"]])
@example([["--slurm.slurm-script", "a\0b", "--submit"]])
@example([["--scenes-dir", "a\0b"]])
@example([["--train-config", "x" * 300]])
@example([["--results-root", "x" * 300]])
def test_any_command_line_is_planned_or_refused(place, given):
    words = [word for each in given for word in each]
    with bounded():
        status, shown = output_of(
            run.main, ["--exp-name", "e", *in_place(place), *words, "--dry-run"]
        )
    assert status in {0, 2} or ("--status" in words and status in {1, 3})
    assert "Traceback" not in shown
    assert [each.name for each in place.iterdir()] == ["a.json"]


@given(given=st.lists(flags, max_size=2))
@example([["--state-root", "x" * 300]])
def test_a_report_of_any_experiment_is_written_or_refused(place, given):
    words = [word for each in given for word in each]
    roots = ["--results-root", str(place / "r"), "--state-root", str(place / "s")]
    with bounded():
        status, shown = output_of(report.main, ["--exp-name", "e", *roots, *words])
    assert status in {0, 2}
    assert "Traceback" not in shown


@given(given=st.lists(flags, max_size=3))
def test_options_say_their_own_command_line(given):
    """What is written down as the command that does the same as a form gives the same options."""
    words = [word for each in given for word in each]
    try:
        options = parse_options(["--exp-name", "e", *words], LaunchOptions, "launch")
    except (FaultsError, SystemExit):
        return
    if "--" not in [*options.scenes, *options.overrides, *options.sweep, *options.expect]:
        assert parse_options(command_line_of(options), LaunchOptions, "launch") == options


@given(values=changed({"exp_name": "e", "scenes": ["a"], "overrides": ["seed=1"], "workers": 2}))
@example({"exp_name": "e", "no_such": 1})
@example({"exp_name": "e", "overrides": ["a=\ud800"]})
def test_whatever_a_form_sends_is_options_or_refused(values):
    """Prefect's API takes any JSON for a run's parameters."""
    try:
        options = checked_options(FlowOptions, option_values(values))
    except FaultsError as error:
        options = str(error)
    assert options
