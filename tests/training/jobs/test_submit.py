"""`--submit` in cases that a real Slurm can't be made to have: fake commands that log their calls.

Tests on a real Slurm are in tests/slurm/test_slurm_array.py.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

GENERATE = "run_mode=difix_data_generation_generate"
SBATCH = """#!/bin/bash
for word in "$@"; do printf '%q ' "$word"; done >> "$FAKE/calls"; echo >> "$FAKE/calls"
case "$*" in
  *--test-only*) exit 0;;
  *"--in-job aggregate"*) cat "$FAKE/refuse_aggregate" >&2 && exit 1;;
esac
echo $(( $(wc -l < "$FAKE/calls") + 100 ))
"""


@pytest.fixture
def fake(lab, tmp_path):
    """A lab of eight scenes with fakes of Slurm's commands."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    commands = {
        "sbatch": SBATCH,
        "squeue": "#!/bin/sh\n",
        "scontrol": '#!/bin/sh\necho "MaxArraySize = 1001"\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    lab.environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "FAKE": str(folder)}
    for number in range(8):
        lab.add_scene(f"a_{number}")
    return lab


def calls(lab: Any) -> list[list[str]]:
    """Return the sbatch command lines that submitted something."""
    path = Path(lab.environment["FAKE"]) / "calls"
    lines = [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [["sbatch", *line] for line in lines if "--test-only" not in line]


def without_id(text: str) -> str:
    return re.sub(r"exp-\d{8}T\d{6}\.\d{6}", "exp-ID", text)


def test_a_dry_run_prints_what_is_submitted(fake):
    """Word for word, except for ids that Slurm has yet to assign; and it creates nothing."""
    flags = ("--submit", "--run-all", "--slurm.array-parallelism", "6", "--overrides", GENERATE)
    shown = fake.run(*flags, "--dry-run")
    assert shown.returncode == 0
    assert not calls(fake)
    assert not (fake.root / "state").exists()
    array, _ = re.findall(r"submitted: \w+ job (\d+)", fake.run(*flags).stdout)
    lines = [line for line in shown.stdout.splitlines() if line.startswith("sbatch ")]
    printed = [without_id(line).replace("<array_job_id>", array) for line in lines]
    made = [without_id(shlex.join(call)) for call in calls(fake)]
    assert [shlex.split(line) for line in printed] == [shlex.split(line) for line in made]
    assert "--array=0-7%6" in lines[0]
    assert "--dependency=afterok:<array_job_id>" in lines[1]


def test_a_dry_run_needs_no_slurm(fake):
    """The command lines are the same without Slurm's commands on PATH."""
    fake.environment["PATH"] = "/nonexistent"
    result = fake.run("--submit", "--run-all", "--dry-run", "--overrides", GENERATE)
    assert result.returncode == 0, result.stderr
    assert "--array=0-7 " in result.stdout
    assert "afterok:<array_job_id>" in result.stdout


def test_without_sbatch_nothing_is_submitted(fake):
    """The fault has its remedy, the exit status is 2, and nothing is created."""
    fake.environment["PATH"] = "/nonexistent"
    result = fake.run("--submit", "--run-all")
    assert result.returncode == 2
    assert "no sbatch" in result.stderr
    assert "login node" in result.stderr
    assert not (fake.root / "state").exists()


def test_an_array_too_large_for_the_site_is_split(fake):
    """With MaxArraySize 3 eight scenes in two lanes of two arrays, one scene each at a time."""
    scontrol = Path(fake.environment["FAKE"]) / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "MaxArraySize = 3"\n')
    bound = ("--slurm.array-parallelism", "2")
    flags = ("--submit", "--run-all", *bound, "--overrides", GENERATE)
    shown = fake.run(*flags, "--dry-run").stdout
    assert shown.count("--dependency=afterany:<array_job_id>") == 2
    result = fake.run(*flags)
    assert result.returncode == 0, result.stderr
    assert "8 scenes, at most 2 at once" in result.stdout
    assert "in 4 arrays" in result.stdout
    assert "report, at the end: python -m flows.report --exp-name" in result.stdout
    *arrays, aggregate = calls(fake)
    assert [call[-1] for call in arrays] == ["0", "3", "4", "7"]
    assert [word for call in arrays for word in call if word.startswith("--array=")] == [
        *("--array=0-2%1", "--array=0-0"),
        *("--array=0-2%1", "--array=0-0"),
    ]
    ids = re.findall(r"submitted: array job (\d+)", result.stdout)
    waits = [[word for word in call if word.startswith("--dependency")] for call in arrays]
    assert waits == [
        *([], [f"--dependency=afterany:{ids[0]}"]),
        *([], [f"--dependency=afterany:{ids[2]}"]),
    ]
    assert f"--dependency=afterok:{':'.join(ids)}" in aggregate


def test_a_refused_aggregate_leaves_the_array_queued_and_says_so(fake):
    """Exit status 1, with Slurm's message and the command line to repeat."""
    refusal = Path(fake.environment["FAKE"]) / "refuse_aggregate"
    refusal.write_text("sbatch: error: Batch job submission failed: Job violates QOS policy\n")
    result = fake.run("--submit", "--run-all", "--overrides", GENERATE)
    assert result.returncode == 1
    assert "Job violates QOS policy" in result.stderr
    (array,) = re.findall(r"submitted: array job (\d+)", result.stdout)
    assert f"array jobs {array} stay" in result.stderr
    command = shlex.split(result.stderr.splitlines()[-1])
    assert command == calls(fake)[-1]
    assert f"--dependency=afterok:{array}" in command


def test_a_controller_that_does_not_answer_is_an_error_in_words(fake):
    """Nothing is submitted, the exit status is 1, and there is no traceback."""
    squeue = Path(fake.environment["FAKE"]) / "squeue"
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Socket timed out' >&2\nexit 1\n")
    result = fake.run("--submit", "--run-all")
    assert result.returncode == 1
    assert "nothing was submitted" in result.stderr
    assert "Socket timed out" in result.stderr
    assert "Traceback" not in result.stderr
    assert not calls(fake)


def test_the_kept_script_is_what_was_submitted(fake):
    """Later edits of the site's script change no queued job; the aggregate's has no GPU.

    Lines are inserted before its first command that start a job on another node, unless the script
    names its nodes.
    """
    script, last = fake.root / "site.slurm", 'exec python training/run.py "$@"\n'
    script.write_text(f"#!/bin/bash\n#SBATCH --time=5 --gres=gpu:1\n{last}")
    flags = ("--slurm.slurm-script", str(script), "--overrides", GENERATE)
    fake.run("--submit", "--run-all", *flags)
    array, aggregate = calls(fake)
    kept, light = (Path(call[call.index("--in-job") - 1]) for call in (array, aggregate))
    head, inserted = kept.read_text().removesuffix(last).split("# Inserted by training/run.py")
    assert head + last == script.read_text()
    assert "ts_elsewhere" in inserted
    assert "gpu" not in light.read_text()
    script.write_text(f"#!/bin/bash\n#SBATCH --time=5 --nodelist=n1\n{last}")
    fake.run("--submit", "--run-all", "--exp-name", "named", *flags)
    named = calls(fake)[-2]
    assert Path(named[named.index("--in-job") - 1]).read_text() == script.read_text()
