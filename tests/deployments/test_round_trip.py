"""What goes in through the form comes out on a command line unchanged, and back."""

from __future__ import annotations

import random
import shlex
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from flows.options import FlowOptions
from flows.parameters import FIELDS, values_of
from training.cli.parser import command_line_of, parse_options
from training.plan.options import checked_options

AWKWARD = [
    "",
    " ",
    "a b",
    "-1",
    "--force",
    "-x=1",
    "key=value=more",
    "key=[1,2,'three']",
    'key="a b"',
    "key='it''s'",
    "~key",
    "+key=1",
    "++key=null",
    "$HOME",
    "${oc.env:HOME}",
    "`id`",
    "a;b|c&d",
    "a\\b",
    "a\nb",
    "*",
    "ä→✓",
    "%s",
    "@file",
    "#no",
]
TIMES = ["90", "3:00:00", "1-00:00:00", "0:30"]
NAMES = ["exp", "a.b+c=d-e", "_1", "0"]
GLOBS = ["model.pt", "renders/*.png", "-x.png", "a b.txt", "**/*.ply"]
BLOCKS = ["", "slack-webhook/lab", "-/-"]
TOLD = {
    "notify": BLOCKS,
    "expect": GLOBS,
    "exp_name": NAMES,
    "slurm_job_name": NAMES,
    "aggregate_job_name": NAMES,
    "slurm_partition": ["", "gpu", "gpu,long"],
    "slurm_account": ["", "lab"],
    "slurm_qos": ["", "high"],
    "slurm_mem": ["", "96G"],
    "orphan_grace": ["", "scene", "3:00:00"],
    "controller_time": ["3:00:00", "1-00:00:00"],
}


def some_value(rng: random.Random, name: str, info: FieldInfo):
    """A value that the field takes."""
    if "time" in name and name not in TOLD:
        return rng.choice(TIMES)
    texts = TOLD.get(name, AWKWARD)
    if info.annotation is bool:
        return rng.choice([True, False])
    if info.annotation is int:
        low = next((each.ge for each in info.metadata if hasattr(each, "ge")), 0)
        return low + rng.randrange(3)
    if info.annotation is str:
        return rng.choice(texts)
    if info.annotation == tuple[str, ...]:
        return rng.choices(texts, k=rng.randrange(4))
    return rng.choice(get_args(info.annotation))


@pytest.mark.parametrize("seed", range(100))
def test_parameters_come_back_from_the_command_line(seed):
    """Through a shell's words too, as the run's log shows them."""
    rng = random.Random(seed)
    chosen = [name for name in FIELDS if name == "exp_name" or rng.random() < 0.5]
    given = {name: some_value(rng, name, FIELDS[name]) for name in chosen}
    if given.get("controller") == "job":
        given["cluster"] = "slurm"
    options = checked_options(FlowOptions, given)
    words = shlex.split(shlex.join(command_line_of(options)))
    assert parse_options(words, FlowOptions, "flows.train") == options
    assert checked_options(FlowOptions, values_of(options)) == options


def test_what_is_left_at_its_default_is_left_out():
    """The line is as short as a person would write it."""
    assert command_line_of(FlowOptions(exp_name="exp")) == ("--exp-name", "exp")
    options = FlowOptions(exp_name="exp", auto_schedule_aggregate=False, overrides=("a=1", "-b"))
    line = "--exp-name exp --overrides=a=1 --overrides=-b --no-auto-schedule-aggregate"
    assert command_line_of(options) == tuple(line.split())
