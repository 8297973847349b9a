"""What a dry run costs: CPU time and memory of the launcher over 100 and 10,000 scenes.

Beside it, what it can't do without: an interpreter that imports pydantic and defines one model, and
one bare `hydra.compose` of train.yaml, which a run with overrides needs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.processes import CHECKOUT, run_command
from benchmarks.scene_files import write_scenes
from benchmarks.subject import Aim, Measure, Role, Row, Size, Subject, median, ratio, row_of

PYDANTIC = "import pydantic\nclass Model(pydantic.BaseModel):\n    number: int\n"
HYDRA = (
    "from hydra import compose, initialize_config_dir\n"
    f"with initialize_config_dir({str(CHECKOUT / 'training/configs')!r}, version_base=None):\n"
    "    compose('train', overrides=['seed=1'])\n"
)
FEW = 100
MANY: Mapping[Size, int] = {"quick": 1_000, "usual": 10_000, "full": 10_000}
CPU, CPU_MANY, MEMORY = "CPU, 100 scenes", "CPU a scene, 10,000 scenes", "memory, 10,000 scenes"
PLAIN, COMPOSED = "pydantic", "hydra.compose"
OURS, WITH_OVERRIDES, LARGE = "dry run", "dry run with overrides", "large dry run"


def measure(
    variant: str, role: Role, command: Sequence[str], scenes: int, rounds: int = 3
) -> list[Row]:
    """Return CPU seconds and peak memory of a command over so many scenes."""
    costs = [run_command(command) for _ in range(rounds)]
    cpu_s = min(cost.cpu_s for cost in costs)
    peak = Row(f"memory, {scenes:,} scenes", variant, (costs[0].peak_mb,), "MB", role=role)
    if scenes <= FEW:
        return [Row(CPU, variant, (cpu_s,), role=role)]
    each = Row(
        f"CPU a scene, {scenes:,} scenes", variant, (cpu_s * 1000 / scenes,), "ms", role=role
    )
    return [each, peak]


@contextmanager
def opened(size: Size) -> Iterator[Mapping[str, Measure]]:
    """Write the scene files and yield the variants."""
    many = MANY[size]
    with tempfile.TemporaryDirectory() as name:
        few_dir = write_scenes(Path(name) / "few", FEW)
        many_dir = write_scenes(Path(name) / "many", many)
        overrides = ("--overrides", "seed=1")
        yield {
            PLAIN: partial(measure, PLAIN, "floor", [sys.executable, "-c", PYDANTIC], 0),
            COMPOSED: partial(measure, COMPOSED, "floor", [sys.executable, "-c", HYDRA], 0),
            OURS: partial(measure, OURS, "ours", dry_run(few_dir), FEW),
            WITH_OVERRIDES: partial(
                measure, WITH_OVERRIDES, "ours", dry_run(few_dir, *overrides), FEW
            ),
            LARGE: partial(measure, OURS, "ours", dry_run(many_dir), many, 1),
        }


def dry_run(scenes_dir: Path, *more: str) -> list[str]:
    """Return the launcher's command line."""
    launcher = str(CHECKOUT / "training" / "run.py")
    flags = ["--exp-name", "bench", "--run-all", "--dry-run", "--scenes-dir", str(scenes_dir)]
    return [sys.executable, launcher, *flags, *more]


def _with_overrides(rows: Sequence[Row]) -> float | None:
    """Return the dry run with overrides over what pydantic and Hydra may cost it."""
    names = (WITH_OVERRIDES, PLAIN, COMPOSED)
    found = [row_of(rows, CPU, name) for name in names]
    ours, pydantic, hydra = (row.median if row else None for row in found)
    if ours is None or pydantic is None or hydra is None:
        return None
    return ours / (2 * pydantic + 1.5 * hydra)


SUBJECTS = (
    Subject(
        name="dry_run",
        title="Dry run",
        about=(
            "`training/run.py --dry-run` over scene files without data: user and system time of "
            "the whole command (the least of three starts in each round), and its peak memory. "
            "Floors: an interpreter that imports pydantic and defines one model, and one bare "
            "`hydra.compose` of train.yaml."
        ),
        opened=opened,
        variants=(PLAIN, COMPOSED, OURS, WITH_OVERRIDES, LARGE),
        aims=(
            Aim("dry run of 100 scenes / pydantic, CPU", ratio(CPU, OURS, PLAIN), 2),
            Aim("dry run with overrides / (2 pydantic + 1.5 Hydra), CPU", _with_overrides, 1),
            Aim("memory of a dry run over 10,000 scenes, MB", median(MEMORY, OURS), 100),
        ),
    ),
)
