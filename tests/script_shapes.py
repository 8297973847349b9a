"""Shapes of Slurm scripts that laboratories have, written for these tests.

Each shape is what public scripts were found to do: how they ask for resources, set up their
environment, start Python, and what follows. `ENVIRONMENT` makes `python` the tests' own.
`{folder}` becomes a folder of the test; braces of the shell are doubled.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = f"PATH={Path(sys.executable).parent}:$PATH"
HEAD = "#SBATCH --time=10 --mem=200"
RUN = 'python training/run.py "$@"'


@dataclass(frozen=True)
class Refused:
    """A shape that is refused: at which line, with which words, and a remedy."""

    name: str
    text: str
    line: int
    words: str
    remedy: str


def bash(*lines: str, first: str = "#!/bin/bash", head: str = HEAD) -> str:
    """Return a script of these lines; `head` stands for its resources."""
    return "\n".join([first, head, *lines, ""])


RUNS: dict[str, str] = {
    "errors into a folder that is not there": bash(
        "#SBATCH --output=logs/%x_%j.out", "#SBATCH --error=logs/nowhere/%x_%j.err", f"exec {RUN}"
    ),
    "errors apart from output": bash(
        "#SBATCH -o {folder}/apart.out",
        "#SBATCH -e {folder}/apart.err",
        "echo of the module >&2",
        f"exec {RUN}",
    ),
    "plain python last": bash(f"export {ENVIRONMENT}", RUN),
    "lines after python": bash("date", RUN, "echo finished", "date"),
    "a failing line after python": bash(RUN, "status=$?", "ls /nowhere", "exit $status"),
    "srun": bash("srun " + RUN),
    "exec srun with options": bash(f"exec srun --ntasks=1 --unbuffered --label {RUN}"),
    "two tasks of a node, srun": bash("#SBATCH --ntasks-per-node=2", "srun " + RUN),
    "two nodes, srun": bash("#SBATCH --nodes=2 --ntasks=2", "srun " + RUN),
    "four tasks, no srun": bash("#SBATCH --tasks-per-node=4", RUN),
    "a pipe to tee": bash("set -o pipefail", RUN + " 2>&1 | tee {folder}/tee.log"),
    "output redirected": bash(RUN + " > {folder}/redirected.log 2>&1"),
    "a login shell": bash(f"export {ENVIRONMENT}", RUN, first="#!/bin/bash -l"),
    "sh with -eu": bash(RUN, "echo done", first="#!/bin/sh -eu"),
    "env bash, strict": bash("set -euo pipefail", RUN, first="#!/usr/bin/env bash"),
    "modules and conda": bash(
        "module() {{ :; }}; conda() {{ :; }}  # as a site's shell has them",
        "module purge",
        "module load cuda/12.1 anaconda3",
        'eval "$(echo true)"',
        "conda activate my_env",
        RUN,
        "conda deactivate",
    ),
    "many directives": bash(
        "#SBATCH --job-name=train",
        "#SBATCH --output=slurm-%j.out   # standard output",
        "#SBATCH --error=slurm-%j.err    # and errors",
        "#SBATCH --mail-type=NONE",
        "#SBATCH --mail-user=me@example.org",
        '#SBATCH --comment="<a deadline>"',
        "#SBATCH --open-mode=truncate",
        "#SBATCH --requeue --nice=1 --export=ALL",
        "##SBATCH --partition=no",
        "#####SBATCH -p no",
        "# xSBATCHx --reservation=no",
        "",
        "#SBATCH",
        "#SBATCH\t--hint=nomultithread",
        "# SBATCH options are in the manual",
        RUN,
    ),
    "short options": bash(f"exec {RUN}", head="#SBATCH -N1 -n 1 -c1 -t 0-00:10 -J t -o o -e e"),
    "Windows line ends": bash("set -e", f"exec {RUN}").replace("\n", "\r\n"),
    "clean-up at exit": bash(
        "export TMPDIR=$(mktemp -d)", "trap 'rm -rf \"$TMPDIR\"' EXIT INT TERM", RUN
    ),
    "in the background with traps": bash(
        "#SBATCH --signal=B:USR1@60",
        RUN + " &",
        "pid=$!",
        "trap 'kill -USR1 $pid' USR1",
        "trap 'kill -TERM $pid' TERM",
        "wait $pid; status=$?",
        "while kill -0 $pid 2>/dev/null; do wait $pid; status=$?; done",
        "exit $status",
    ),
    "a signal for what srun starts": bash("#SBATCH --signal=SIGUSR1@90", "srun " + RUN),
    "USR2 for the script": bash("#SBATCH --signal=B:USR2@60", f"exec {RUN}"),
    "a wrapper such as a container": bash(
        'in_image() {{ env -u PYTHONPATH "$@"; }}', "in_image " + RUN, "echo left the image"
    ),
    "a branch each": bash(f"if [ -e /nowhere ]; then\n  exec false\nelse\n  exec {RUN}\nfi"),
    "arguments kept in an array": bash(
        'arguments=("$@")', 'python training/run.py "${{arguments[@]}}"'
    ),
    "goes to the submission's folder": bash('cd "$SLURM_SUBMIT_DIR"', RUN),
    "an environment of its own": bash(
        "#SBATCH --export=NONE", "unset SLURM_EXPORT_ENV", f"export {ENVIRONMENT}", f"exec {RUN}"
    ),
    "tries twice": bash(f"for try in 1 2; do {RUN} && break; done"),
    "continued lines": bash('srun --ntasks=1 \\\n  python -u \\\n  training/run.py \\\n  "$@"'),
    "time, nice, stdbuf": bash(f"time nice -n 1 stdbuf -oL {RUN}"),
    "unquoted arguments": bash("python training/run.py $@"),
    "arguments in a text": bash('bash -c "python training/run.py $*"'),
    "reports its node": bash(
        "hostname; date; nvidia-smi || true", 'echo "job $SLURM_JOB_ID on $SLURM_NODELIST: $@"', RUN
    ),
    "writes another script": bash(
        "cat > {folder}/other.sh <<'END'", "#!/bin/bash", "#SBATCH --mem=1T", "END", f"exec {RUN}"
    ),
}

STOPPED = (
    "plain python last",
    "lines after python",
    "srun",
    "exec srun with options",
    "two tasks of a node, srun",
    "a pipe to tee",
    "a login shell",
    "sh with -eu",
    "clean-up at exit",
    "in the background with traps",
    "USR2 for the script",
    "a wrapper such as a container",
    "a branch each",
)
"""Shapes, of those that run, in which signals take different ways to the trainer."""

REFUSED = (
    Refused(
        "a directive after a command",
        bash("module purge", "#SBATCH --mem=64G", f"exec {RUN}"),
        4,
        "Slurm ignores it after the first command: #SBATCH --mem=64G",
        "move it above line 3",
    ),
    Refused(
        "a byte order mark",
        "\ufeff" + bash(f"exec {RUN}"),
        1,
        "byte order mark",
        "UTF-8 without BOM",
    ),
    Refused(
        "a heterogeneous job",
        bash("#SBATCH hetjob", "#SBATCH --nodes=2", f"exec {RUN}"),
        3,
        "heterogeneous",
        "keep one part",
    ),
    Refused(
        "a heterogeneous job of an older Slurm",
        bash("#SBATCH packjob", f"exec {RUN}"),
        3,
        "heterogeneous",
        "keep one part",
    ),
    Refused(
        "no arguments",
        bash("source env.sh", "srun python training/run.py", "echo done"),
        4,
        "srun python training/run.py",
        '"$@"',
    ),
    Refused(
        "another program",
        bash("python train.py --epochs 3"),
        3,
        "nothing runs training/run.py",
        '"$@"',
    ),
    Refused(
        "arguments only in a comment",
        bash('python training/run.py  # "$@"'),
        3,
        "no job learns what to do",
        '"$@"',
    ),
    Refused(
        "arguments only printed",
        bash('echo "$@"', "python training/run.py"),
        4,
        "no job learns what to do",
        '"$@"',
    ),
    Refused(
        "arguments as one word",
        bash('python training/run.py "$*"'),
        3,
        "makes one argument of all",
        'write "$@"',
    ),
    Refused(
        "arguments inside a text",
        bash('bash -c "python training/run.py $@"'),
        3,
        "loses all arguments but the first",
        "bash -c",
    ),
    Refused(
        "an array of its own", bash("#SBATCH --array=0-9%2", f"exec {RUN}"), 3, "--array", "remove"
    ),
    Refused("another cluster", bash("#SBATCH -M east", f"exec {RUN}"), 3, "--clusters", "login"),
    Refused(
        "an input file", bash("#SBATCH --input=data.txt", f"exec {RUN}"), 3, "--input", "remove"
    ),
    Refused("waits", bash("#SBATCH -W", f"exec {RUN}"), 3, "--wait", "remove"),
    Refused(
        "a variable as a number",
        bash("#SBATCH --ntasks=$TASKS", f"exec {RUN}"),
        3,
        "--ntasks=$TASKS",
        "expands no variables",
    ),
    Refused(
        "a variable as a time",
        bash("#SBATCH -t ${HOURS}:00:00", f"exec {RUN}"),
        3,
        "--time=${HOURS}",
        "expands no variables",
    ),
    Refused(
        "words without #",
        bash("#SBATCH --nodes=1 (one node)", f"exec {RUN}"),
        3,
        "'(one' is not an option",
        "--option=value",
    ),
    Refused(
        "a continued directive",
        bash("#SBATCH --nodes=1 \\", "#SBATCH --ntasks=1", f"exec {RUN}"),
        3,
        "a backslash continues no directive",
        "remove it",
    ),
    Refused("an open quote", bash("#SBATCH --comment='a", f"exec {RUN}"), 3, "unmatched", "close"),
    Refused("an empty time", bash("#SBATCH --time=", f"exec {RUN}"), 3, "--time=", "minutes"),
    Refused(
        "no interpreter",
        bash(f"exec {RUN}", first="# a job"),
        1,
        "no interpreter",
        "#!/bin/bash",
    ),
    Refused(
        "a signal for a script in Python",
        bash(
            "#SBATCH --signal=B:USR1@60",
            "import subprocess, sys",
            'subprocess.run(["python", "training/run.py", *sys.argv[1:]])',
            first="#!/usr/bin/env python3",
        ),
        3,
        "SIGUSR1 would end the python3",
        "exec python training/run.py",
    ),
)

WARNED: dict[str, tuple[str, int, str]] = {
    "a space in the mark": (bash("# SBATCH --mem=64G", RUN), 3, "# SBATCH --mem=64G"),
    "a space before it": (bash(" #SBATCH --mem=64G", RUN), 3, "#SBATCH --mem=64G"),
    "small letters": (bash("#sbatch --mem=64G", RUN), 3, "#sbatch --mem=64G"),
    "a small letter": (bash("#SBATCh -c 1", RUN), 3, "#SBATCh -c 1"),
    "a variable": (bash("#SBATCH --mail-user=$USER", RUN), 3, "expands no variables"),
    "unquoted arguments": (bash("python training/run.py $@"), 3, "break at spaces"),
    "two tasks": (bash("#SBATCH --ntasks=2", RUN), 3, "a scene is one task"),
    "two nodes": (bash("#SBATCH -N 2-4", RUN), 3, "a scene is one task"),
    "a signal that reaches nobody": (bash("#SBATCH --signal=USR1@9", RUN), 3, "without B:"),
    "a signal that ends a scene": (bash("#SBATCH --signal=B:TERM@9", RUN), 3, "SIGTERM stops"),
    "a script in Python": (bash("import x", first="#!/usr/bin/python3"), 1, "no signal on"),
}
"""Shapes that run, with the line of the warning that is shown before, and its words."""

UNWARNED = (
    bash("##SBATCH --mem=1", "# the #SBATCH lines", f"exec {RUN}"),
    bash("#SBATCH --output=$HOME/log --job-name=$X", f"exec {RUN}"),
    bash("#SBATCH --signal=B:USR1@60", f"exec {RUN}"),
    bash("#SBATCH --signal=USR1@60", "srun " + RUN),
    bash("#SBATCH --comment='costs $5'", RUN),
)
"""Scripts with nothing to warn of."""
