"""Measure what a dry run over many scenes costs, as a ratio to what it can't do without.

`python benchmarks/launcher_start.py` prints CPU time (user + system, children included, the median
of interleaved runs) of: an interpreter that imports pydantic and defines one model; a dry run over
100 scenes, all validated; one bare `hydra.compose` of train.yaml; the dry run with overrides; and
the memory of a dry run over 1,000 scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PYDANTIC = "import pydantic\nclass Model(pydantic.BaseModel):\n    number: int\n"
HYDRA = (
    "from hydra import compose, initialize_config_dir\n"
    f"with initialize_config_dir({str(CHECKOUT / 'training/configs')!r}, version_base=None):\n"
    "    compose('train', overrides=['seed=1'])\n"
)
CONTENDERS = ("pydantic", "hydra", "dry run", "dry run with overrides")


def main() -> None:
    """Measure and print the times and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(registry(Path(folder) / "many", given.scenes), given.rounds)
        megabytes = peak_memory_mb(dry_run(registry(Path(folder) / "thousand", 1000)))
    for name in CONTENDERS:
        print(f"{name:24} {seconds[name]:.3f} CPU s")
    pydantic, hydra = seconds["pydantic"], seconds["hydra"]
    print(f"dry run / pydantic: {seconds['dry run'] / pydantic:.2f} (aim: at most 2)")
    allowed = 2 * pydantic + 1.5 * hydra
    ratio = seconds["dry run with overrides"] / allowed
    print(f"dry run with overrides / (2 pydantic + 1.5 hydra): {ratio:.2f} (aim: at most 1)")
    print(f"memory of a dry run over 1,000 scenes: {megabytes:.0f} MB (aim: under 60)")


def measure(scenes_dir: Path, rounds: int) -> dict[str, float]:
    """Return each contender's median CPU seconds; every round runs each once."""
    commands = (
        [sys.executable, "-c", PYDANTIC],
        [sys.executable, "-c", HYDRA],
        dry_run(scenes_dir),
        [*dry_run(scenes_dir), "--overrides", "seed=1"],
    )
    times = [[cpu_seconds(command) for command in commands] for _ in range(rounds)]
    medians = map(statistics.median, zip(*times, strict=True))
    return dict(zip(CONTENDERS, medians, strict=True))


def registry(folder: Path, count: int) -> Path:
    """Write a folder of `count` scene files."""
    folder.mkdir()
    for number in range(count):
        scene = {"seq_name": f"hi4d_pair{number:04d}_dance", "cam_id": 28}
        (folder / f"{number:04d}.json").write_text(json.dumps(scene), encoding="utf-8")
    return folder


def dry_run(scenes_dir: Path) -> list[str]:
    """Return the launcher's command line."""
    launcher = str(CHECKOUT / "training" / "run.py")
    flags = ["--exp-name", "bench", "--run-all", "--dry-run", "--scenes-dir", str(scenes_dir)]
    return [sys.executable, launcher, *flags]


def cpu_seconds(command: Sequence[str]) -> float:
    """Return user and system time of a command, from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peak_memory_mb(command: Sequence[str]) -> float:
    """Return the largest resident size of a command."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"the command failed: {command}")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
