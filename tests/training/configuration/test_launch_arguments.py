"""How names arrive at a script, and how keys are found among a user's overrides."""

from __future__ import annotations

import pytest

from training.configuration.launch_arguments import assigned, assignment
from training.plan.options import LaunchOptions
from training.plan.train_script import load_train_script

NAMES = [
    "pair17_dance",
    "2026-11-29",
    "00_hug",
    "007",
    "00",
    "1_0",
    "0_1",
    "1__2",
    "12",
    "12_",
    "_12",
    "1e3",
    "1e-3",
    "1E5",
    "1e+5",
    "1e",
    "1e5_",
    "1_e5",
    "1.",
    "1.5",
    "1.5.6",
    "2026.11",
    "1_0.5",
    "01.5",
    "0.0",
    ".5",
    "5.e3",
    "1_0e1_0",
    "1-2",
    "a+b",
    "a=b",
    "1=2",
    "+1",
    "-1",
    "0x1",
    "inf",
    "-inf",
    "Inf",
    "NaN",
    "nano",
    "nan1",
    "true",
    "True",
    "false",
    "null",
    "NULL",
    "none",
    "on",
    "yes",
    "a.",
    "a.b-c",
    "v1.0",
    "0e0",
    "00e1",
    "0_0",
    "x-1",
    "1.e5",
]


@pytest.mark.parametrize("text", NAMES)
def test_names_reach_hydra_as_text_with_quotes_only_where_it_needs_them(text):
    """A scene called 007 stays 007, and a plain script gets it without quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    given = assignment("k", text)
    assert parser.parse_override(given).value() == text
    try:
        is_text = parser.parse_override(f"k={text}").value() == text
    except HydraException:
        is_text = False
    assert given == (f"k={text}" if is_text else f"k='{text}'")


def test_an_override_is_known_by_its_key():
    """With whatever prefix; the last one counts."""
    assert assigned(["a.b=1", "++a.b='2'", "a.bc=3"], "a.b") == "2"
    assert assigned(["a.bc=3", "b=a.b=4"], "a.b") is None


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_an_aggregates_command_names_its_own_mode_only(tmp_path, prefix):
    """Whatever prefix the run mode was given with, and how often."""
    generate = "difix_data_generation_generate"
    script = tmp_path / "mine.py"
    script.touch()
    given = (f"{prefix}run_mode={generate}", "seed=1")
    own = load_train_script(LaunchOptions(exp_name="exp", overrides=given), None)
    other = load_train_script(
        LaunchOptions(
            exp_name="exp", train_script=str(script), overrides=("run_mode=train", *given)
        ),
        None,
    )
    assert bool(own.faults) == (prefix == "+")  # which adds a key; train.yaml has it
    for each in (other, *([] if own.faults else [own])):
        _, mode, experiment, *rest = each.aggregate_command("exp")
        assert mode == "run_mode=difix_data_generation_aggregate"
        assert (experiment, rest) == ("shared.exp_name=exp", ["seed=1"])
