"""What ten thousand scenes cost: hundreds, thousands and more of no-op scenes, command by command.

No peer is measured beside it: what counts is that each scene costs as much as if there were few.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks.prefect_lab import create_database, prefect_environment
from benchmarks.processes import CHECKOUT, run_command
from benchmarks.scene_files import write_scenes
from benchmarks.subject import Aim, Measure, Row, Size, Subject, UnavailableError, median, row_of

COUNTS: Mapping[Size, tuple[int, ...]] = {
    "quick": (100, 1_000),
    "usual": (100, 1_000, 10_000),
    "full": (100, 1_000, 10_000),
}
LAUNCH, FLOW, STATUS, REPORT, ARRAY = "launcher", "flow", "--status", "report", "array, dry run"
CPU, MEMORY, EXPONENT = "CPU, {:,} scenes", "memory, {:,} scenes", "exponent of N"
TIMEOUT_S = 1500.0
WORKERS = "2"
STARTS, SHORT_S = 3, 3.0
"""How often a command is started that takes less CPU time than that."""


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Write the scene files, and yield the commands in the order in which they need each other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script").mkdir()
        (folder / "script" / "no_op.py").touch()
        for count in (1, *COUNTS[size]):
            write_scenes(folder / f"scenes{count}", count)
        create_database(folder)
        commands = {ARRAY: _array, FLOW: _flow, LAUNCH: _launch, STATUS: _status, REPORT: _report}
        yield {
            variant: partial(measure, variant, command, folder, COUNTS[size])
            for variant, command in commands.items()
        }


def measure(
    variant: str,
    command: Callable[[Path, int], tuple[float, float]],
    folder: Path,
    counts: Sequence[int],
) -> list[Row]:
    """Return CPU seconds and memory at each number of scenes, and the exponent between them.

    The exponent is that of what is added to a run with one scene: 1 where it is linear.
    """
    row = partial(Row, variant=variant)
    costs = {count: _least(command, folder, count) for count in (1, *counts)}
    rows = []
    for count in counts:
        cpu_s, peak_mb = costs[count]
        rows.append(row(CPU.format(count), samples=(cpu_s,), unit="s"))
        rows.append(row(MEMORY.format(count), samples=(peak_mb,), unit="MB"))
    more_s = {count: costs[count][0] - costs[1][0] for count in counts}
    few, many = list(pairwise(counts))[-1]
    if min(more_s[few], more_s[many]) > 0:
        exponent = math.log(more_s[many] / more_s[few]) / math.log(many / few)
        rows.append(row(EXPONENT, samples=(exponent,), unit=""))
    return rows


def _least(
    command: Callable[[Path, int], tuple[float, float]], folder: Path, count: int
) -> tuple[float, float]:
    """Return what the cheapest of a few starts of a short command took.

    One start differs from the next by as much as a thousand scenes cost, and the exponent is that
    of small differences.
    """
    costs = [command(folder, count)]
    while len(costs) < STARTS and costs[0][0] < SHORT_S:
        costs.append(command(folder, count))
    return min(costs)


def _array(folder: Path, count: int) -> tuple[float, float]:
    """Plan scenes and print the sbatch lines that would submit them."""
    launcher = str(CHECKOUT / "training" / "run.py")
    cost = run_command(
        [sys.executable, launcher, "--submit", "--dry-run", *_flags(folder, count, "array")]
    )
    return cost.cpu_s, cost.peak_mb


def _launch(folder: Path, count: int) -> tuple[float, float]:
    return _no_op("launch", folder, count)


def _flow(folder: Path, count: int) -> tuple[float, float]:
    return _no_op("flow", folder, count)


def _no_op(program: str, folder: Path, count: int) -> tuple[float, float]:
    """Run all scenes, as no-ops; return what the controlling process took."""
    shutil.rmtree(_results(folder, program, count), ignore_errors=True)
    command = [sys.executable, str(CHECKOUT / "benchmarks" / "no_op_scenes.py"), program]
    done = subprocess.run(
        [*command, *_flags(folder, count, program), "--workers", WORKERS],
        cwd=CHECKOUT,
        env=prefect_environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableError(f"exit status {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["cpu_s"], found["peak_mb"]


def _status(folder: Path, count: int) -> tuple[float, float]:
    return _with_records([str(CHECKOUT / "training" / "run.py"), "--status"], folder, count)


def _report(folder: Path, count: int) -> tuple[float, float]:
    return _with_records(["-m", "flows.report"], folder, count)


def _with_records(program: Sequence[str], folder: Path, count: int) -> tuple[float, float]:
    """Run a command over the records of the launcher, which runs first where it has not yet."""
    if not _results(folder, "launch", count).exists():
        _launch(folder, count)
    flags = ["--exp-name", f"e{count}", *_roots(folder, "launch", count)]
    cost = run_command([sys.executable, *program, *flags])
    return cost.cpu_s, cost.peak_mb


def _flags(folder: Path, count: int, program: str) -> list[str]:
    scenes = ["--run-all", "--scenes-dir", str(folder / f"scenes{count}")]
    script = ["--train-script", str(folder / "script" / "no_op.py")]
    data = ["--scene-data-root", str(folder / "data")]
    roots = _roots(folder, program, count)
    return ["--exp-name", f"e{count}", *scenes, *script, *data, *roots]


def _roots(folder: Path, program: str, count: int) -> list[str]:
    results = _results(folder, program, count)
    return ["--results-root", str(results), "--state-root", str(folder / "state")]


def _results(folder: Path, program: str, count: int) -> Path:
    return folder / f"results-{program}-{count}"


def _largest_exponent(rows: Sequence[Row]) -> float | None:
    found = [row_of(rows, EXPONENT, name) for name in (ARRAY, LAUNCH, FLOW, STATUS, REPORT)]
    return max((row.median for row in found if row), default=None)


MANY = 10_000
LARGEST = "the largest exponent of N"
WHY_EXPONENT = (
    "Profiles show ten times the calls for ten times the scenes. Tried, and in use: commands don't "
    "look for garbage while they plan, which was a fifteenth of the array's dry run and more than "
    "linear. The largest is the launcher's, which spends two thirds of its time in the kernel, "
    "where it makes folders and files; the exponent of its own time is 1.05."
)
SUBJECTS = (
    Subject(
        name="many_scenes",
        title="Ten thousand scenes",
        about=(
            "No-op scenes that leave nothing but a record, so that only the scheduler is measured: "
            "the array's plan and sbatch lines, the launcher, the flow with its Prefect server, "
            "`--status` and the report. CPU seconds and peak memory of the controlling process "
            "(not of workers and server, nor of jobs); of commands that take less than 3 s the "
            "least of three starts. The exponent is that of what the last step in N adds to a run "
            "with one scene: 1 is linear."
        ),
        opened=opened,
        variants=(ARRAY, FLOW, LAUNCH, STATUS, REPORT),
        why={LARGEST: WHY_EXPONENT},
        aims=(
            Aim(LARGEST, _largest_exponent, 1.05),
            Aim("`--status` of 10,000 scenes, CPU s", median(CPU.format(MANY), STATUS), 2),
            Aim("memory of a flow of 10,000 scenes, MB", median(MEMORY.format(MANY), FLOW), 500),
            Aim(
                "memory of a launch of 10,000 scenes, MB",
                median(MEMORY.format(MANY), LAUNCH),
                100,
            ),
        ),
        max_rounds=1,
        timeout_s=1200,
    ),
)
