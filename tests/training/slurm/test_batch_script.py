"""A Slurm script's directives are read as sbatch reads them; its faults come all at once."""

from __future__ import annotations

import pytest

from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT
from training.slurm.batch_script import gpu_request, light_text, parse, value_of
from training.slurm.script_checks import LAST_LINE, read_script


def values_of(*lines: str) -> dict[str, str | None]:
    directives, problems = parse("\n".join(["#!/bin/bash", *lines, "true"]))
    assert problems == []
    return {each.name: each.value for each in directives}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("#SBATCH --time=1:00", {"time": "1:00"}),
        ("#SBATCH --time 1:00", {"time": "1:00"}),
        ("#SBATCH -t1:00", {"time": "1:00"}),
        ("#SBATCH -t 1:00", {"time": "1:00"}),
        ("#SBATCH\t-p gpu -c 4  # a comment", {"partition": "gpu", "cpus-per-task": "4"}),
        ("#SBATCH --comment='a b' -C \"x&y\"", {"comment": "a b", "constraint": "x&y"}),
        ("#SBATCH --comment=a#b", {"comment": "a"}),
        ("#SBATCH -Ht5", {"hold": None, "time": "5"}),
        ("#SBATCH --exclusive --nice=5", {"exclusive": None, "nice": "5"}),
        ("#SBATCH --part=gpu", {"partition": "gpu"}),
        (
            "#SBATCH --site-plugin=on --other 5 --bare",
            {"site-plugin": "on", "other": "5", "bare": None},
        ),
        ("#SBATCH --time=1:00\n#SBATCH --time=2:00", {"time": "2:00"}),
        ("#SBATCH -t\n#SBATCH 5", {"time": "5"}),
        ("  \n# comment\n##SBATCH -p no\n #SBATCH -p no\n#SBATCH -t 5", {"time": "5"}),
        ("cd /\n#SBATCH --time=banana", {}),
    ],
)
def test_directives_are_read_as_sbatch_reads_them(line, values):
    """Several per line, quotes, comments, short and long names, abbreviations; the last counts."""
    assert values_of(line) == values


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#SBATCH --time=banana", "--time=banana"),
        ("#SBATCH --time=", "--time="),
        ("#SBATCH -t 1:2:3:4", "--time=1:2:3:4"),
        ("#SBATCH -Z", "-Z is no option of sbatch"),
        ("#SBATCH --time", "--time has no value"),
        ("#SBATCH --tim=5", "--tim is ambiguous"),
        ("#SBATCH --comment='a", "unmatched quote"),
        ("#SBATCH gpu", "'gpu' is not an option"),
        ("#SBATCH --mem=banana", "--mem=banana"),
        ("#SBATCH -c x", "--cpus-per-task=x"),
        ("#SBATCH -c 0", "--cpus-per-task=0"),
        ("#SBATCH --array=0-3", "--array=0-3"),
        ("#SBATCH --wait", "--wait"),
    ],
)
def test_a_wrong_or_reserved_directive_is_a_fault_with_its_line(tmp_path, line, words):
    """The fault shows file, line and directive, and says what to write instead."""
    script = tmp_path / "site.slurm"
    script.write_text(f"#!/bin/bash\n\n{line}\n{LAST_LINE}\n")
    with pytest.raises(FaultsError) as caught:
        read_script(script)
    (fault,) = caught.value.faults
    assert f"{script}:3: " in fault.value
    assert words in fault.value
    assert fault.remedy


def test_all_faults_of_a_script_come_at_once(tmp_path):
    """Missing interpreter, malformed time and unknown option are three faults of one error."""
    script = tmp_path / "site.slurm"
    script.write_text(f"#SBATCH --time=banana\n#SBATCH -Z\n{LAST_LINE}\n")
    with pytest.raises(FaultsError) as caught:
        read_script(script)
    assert len(caught.value.faults) == 3
    assert "#!/bin/bash" in str(caught.value)


def test_a_mistyped_script_names_the_nearest_one(tmp_path):
    """The remedy for sumbit.slurm in a folder with submit.slurm."""
    (tmp_path / "submit.slurm").touch()
    with pytest.raises(FaultsError, match=r"did you mean submit\.slurm\?"):
        read_script(tmp_path / "sumbit.slurm")


def test_only_what_asks_for_gpus_is_removed_for_a_job_without():
    """GPU requests are removed in all their spellings; every other line stays as it was written."""
    script = """#!/bin/bash
#SBATCH -p gpu --gres=gpu:a100:2,license:1 --comment='two words'
#SBATCH --gres gpu:1
#SBATCH -G 2 --gpus-per-node=1 --mem-per-gpu=4G --cpus-per-gpu=2 --gpu-bind=closest
#SBATCH --tres-per-task=cpu=1,gres/gpu:1 --mps-like=7
#SBATCH   --time=5   # kept as it is
nvidia-smi # --gres=gpu:1
"""
    light = light_text(script)
    kept, problems = parse(light)
    assert problems == []
    assert [(each.name, each.value) for each in kept] == [
        ("partition", "gpu"),
        ("gres", "license:1"),
        ("comment", "two words"),
        ("tres-per-task", "cpu=1"),
        ("mps-like", "7"),
        ("time", "5"),
    ]
    assert light.endswith(script[script.index("#SBATCH   --time") :])
    assert len(light.splitlines()) == len(script.splitlines())


def test_a_script_without_gpus_stays_the_same():
    """Character for character, unusual spacing included."""
    script = "#!/bin/sh\n#SBATCH  -t 5 --gres=license:1\n\ntrue"
    assert light_text(script) == script


def test_the_shipped_script_has_no_fault():
    """It asks for a GPU, has a time limit, and replaces its shell by run.py with its arguments."""
    script = read_script(CHECKOUT / "training" / "submit.slurm")
    assert value_of(script.directives, "gres") == "gpu:1"
    assert script.value("time") == "3:00:00"
    assert script.text.endswith('exec python training/run.py "$@"\n')


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("", {"gres": "gpu:2"}),
        ("#SBATCH --gres=gpu:1", {"gres": "gpu:2"}),
        ("#SBATCH --gres=gpu:a100:1,license:1", {"gres": "license:1,gpu:a100:2"}),
        ("#SBATCH -G a100:4", {"gpus": "a100:2"}),
        ("#SBATCH --gpus-per-node=1", {"gpus-per-node": "2"}),
    ],
)
def test_a_number_of_gpus_is_asked_for_by_the_scripts_own_option(line, asked):
    """Of the kind that it names."""
    assert gpu_request(f"#!/bin/bash\n{line}\ntrue\n", 2) == asked
