"""Slurm scripts: what is submitted in a script's place is as whole as the script was."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.mutations import NASTY, bounded, damaged, edited, text
from hypothesis import assume, example, given
from hypothesis import strategies as st

from preprocess.faults import FaultsError
from training.slurm import batch_script
from training.slurm.batch_script import gpu_request, light_text, parse, requested_gpus
from training.slurm.forwarding import with_forwarding
from training.slurm.script_checks import batch_signal, read_script
from training.slurm.script_commands import commands

SHIPPED = (Path(__file__).resolve().parents[2] / "training" / "submit.slurm").read_text()
OPTIONS = sorted(batch_script.KNOWN)
VALUES = """1 0 8 96G 1:00:00 1-00:00:00 infinite gpu:1 gpu:a100:2 gres:gpu:1 gpu:1,nvme:1 shard:2
B:USR1@60 USR1@300 %x-%j.out n[1-3] 'a b' "a b" # $HOME hetjob : afterok:1 --mem"""
written = st.sampled_from(VALUES.split()) | st.sampled_from(NASTY)
directives = st.one_of(
    st.tuples(st.sampled_from(OPTIONS), st.sampled_from(["=", " ", "  "]), written).map(
        lambda parts: f"#SBATCH --{''.join(parts)}"
    ),
    st.tuples(st.sampled_from("ANpGctJx"), written).map(lambda p: f"#SBATCH -{p[0]} {p[1]}"),
    st.tuples(st.sampled_from(["#sbatch ", "# SBATCH ", "#SBATCH", "##SBATCH "]), written).map(
        "".join
    ),
    text,
)
ENDS = (
    'exec python training/run.py "$@"',
    'srun python training/run.py "$@"',
    "python training/run.py $*",
    "trap 'echo USR1' USR1\npython training/run.py \"${@}\"\n",
    'cat <<END\n#SBATCH --mem=1\nEND\npython training/run.py "$@" \\\n',
    "",
)


@st.composite
def scripts(draw):
    """Scripts of directives and a last line, or the shipped one a little changed."""
    if draw(st.booleans()):
        return draw(edited(SHIPPED))
    lines = draw(st.lists(directives, max_size=5))
    first = draw(st.sampled_from(["#!/bin/bash -l", "#!/usr/bin/env -S bash", "#!/bin/csh", ""]))
    return draw(edited("\n".join([first, *lines, draw(st.sampled_from(ENDS))]), 1))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("scripts") / "site.slurm"


def test_numbers_of_thousands_of_digits_are_numbers(file):
    """Python's `int` refuses them."""
    lines = [f"#SBATCH --ntasks={'9' * 5000}", f"#SBATCH --gres=gpu:{'9' * 5000}", ENDS[0]]
    text = "\n".join(["#!/bin/bash", *lines])
    file.write_text(text)
    assert read_script(file).warnings
    assert requested_gpus(text, {}) > 1


@given(data=st.data())
def test_a_script_is_read_or_refused_with_its_lines(file, data):
    file.write_bytes(data.draw(scripts().map(str.encode).flatmap(damaged)))
    with bounded():
        try:
            found = read_script(file).text
        except FaultsError as error:
            found = str(error) if str(file) in str(error) else ""
    assert found


@given(script=scripts())
@example("#!/bin/bash\n#SBATCH --gres=gpu:1\x0c#SBATCH\n")
@example("#!/bin/bash\n#SBATCH --gpus=" + "9" * 5000 + "\n")
def test_a_job_without_gpus_asks_for_all_else(script):
    with bounded():
        light = light_text(script)
        assert requested_gpus(light, {}) == 0
        kept = {
            (each.name, each.value)
            for each in parse(script)[0]
            if "gpu" not in each.name and each.name != "gres" and not each.name.startswith("tres")
        }
        assert kept <= {(each.name, each.value) for each in parse(light)[0]}
        assert len(light.splitlines()) == len(script.splitlines())


@given(script=scripts(), count=st.integers(1, 64))
def test_so_many_gpus_are_asked_for_as_the_flag_says(script, count):
    with bounded():
        assert requested_gpus(script, gpu_request(script, count)) >= count


@given(script=scripts())
def test_forwarding_keeps_every_line_and_directive(script):
    assume(commands(script))  # else it is refused
    with bounded():
        sent = with_forwarding(script, Path("/state/a b"), batch_signal(parse(script)[0]))
        assert parse(sent)[0] == parse(script)[0]
        left = iter(sent.splitlines())
        assert all(line in left for line in script.splitlines())
