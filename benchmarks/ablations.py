"""Train the bundled scenes with one setting changed at a time; print docs/trainer.md's table.

`python benchmarks/ablations.py --results-root DIR [--rows default captured] [--seeds 0 1 2]` starts
`training/run.py` for each row, seed and scene, one after the other, and keeps what came out in
`DIR/ablations.json`: the same command again runs what is missing. With one thread a run takes
about 45 CPU seconds, with captured views 60. `--print` shows the table of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SCENES = (
    "synthetic_pair01_hug",
    "synthetic_pair01_wave",
    "synthetic_pair02_dance",
    "synthetic_pair02_talk",
)
VIEWS = "train.nv_generation.trn_nv_gen"
CAPTURED = (f"{VIEWS}.source=captured", f"{VIEWS}.num_cameras=4")
LOSS = "train.optimization.loss"
ROWS: dict[str, tuple[str, ...]] = {
    "default": (),
    "no cloth": ("model.cloth_thickness_m=0",),
    "10 mm of cloth": ("model.cloth_thickness_m=0.010",),
    "25 mm of cloth": ("model.cloth_thickness_m=0.025",),
    "no smoothness": (f"{LOSS}.pose_smoothness=0",),
    "no SSIM": (f"{LOSS}.ssim=0", f"{LOSS}.rgb=1.0"),
    "2,000 Gaussians a person": ("model.gaussians_per_person=2000",),
    "8,000 Gaussians a person": ("model.gaussians_per_person=8000",),
    "100 epochs": ("train.optimization.epochs=100",),
    "captured": CAPTURED,
    "captured, no cloth": (*CAPTURED, "model.cloth_thickness_m=0"),
}
"""Each row's name and the overrides that it differs from the default by."""


@dataclass(frozen=True)
class Result:
    """What one training came to; `before_mm` is the pose error that it started from."""

    row: str
    overrides: list[str]
    seed: int
    scene: str
    psnr: float
    gain: float
    mpjpe_mm: float
    before_mm: float
    cpu_s: float


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results-root", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES, metavar="SCENE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--print", action="store_true", help="run nothing")
    given = parser.parse_args()
    root = given.results_root.resolve()  # run.py starts elsewhere
    path = root / "ablations.json"
    results = _read(path)
    if not given.print:
        wanted = [
            (row, seed, name) for seed in given.seeds for row in given.rows for name in given.scenes
        ]
        for row, seed, scene in wanted:
            if not _has(results, row, seed, scene):
                results.append(_train(root, row, seed, scene))
                path.write_text(json.dumps([asdict(each) for each in results], indent=1), "utf-8")
    print("\n".join(_table(results)))


def _read(path: Path) -> list[Result]:
    if not path.exists():
        return []
    return [Result(**each) for each in json.loads(path.read_text(encoding="utf-8"))]


def _has(results: Sequence[Result], row: str, seed: int, scene: str) -> bool:
    wanted = (row, list(ROWS[row]), seed, scene)
    return any((each.row, each.overrides, each.seed, each.scene) == wanted for each in results)


def _train(results_root: Path, row: str, seed: int, scene: str) -> Result:
    name = f"{row.replace(',', '').replace(' ', '_')}-{seed}"
    flags = ["--scene-name-includes", scene, "--exp-name", name, "--workers", "1"]
    roots = ["--results-root", str(results_root)]
    overrides = [*ROWS[row], f"seed={seed}"]
    before = _children_cpu_s()
    command = [sys.executable, "training/run.py", *flags, *roots, "--overrides", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, check=True)
    content = json.loads((results_root / scene / name / "metrics.json").read_text("utf-8"))
    first = content["before"]
    result = Result(
        row,
        list(ROWS[row]),
        seed,
        scene,
        psnr=content["psnr"],
        gain=content["psnr"] - first["psnr"],
        mpjpe_mm=content["mpjpe_mm"],
        before_mm=first["mpjpe_mm"],
        cpu_s=_children_cpu_s() - before,
    )
    print(result, flush=True)
    return result


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "| row | runs | PSNR dB | gain dB | ± scenes | ± seeds | MPJPE mm | of before | CPU s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in ROWS:
        chosen = [each for each in results if each.row == row]
        if chosen:
            yield _line(row, chosen)


def _line(row: str, chosen: Sequence[Result]) -> str:
    share = sum(each.mpjpe_mm for each in chosen) / sum(each.before_mm for each in chosen)
    cells = [
        row,
        str(len(chosen)),
        f"{statistics.mean(each.psnr for each in chosen):.2f}",
        f"{statistics.mean(each.gain for each in chosen):.2f}",
        _spread(chosen, lambda each: each.scene),
        _spread(chosen, lambda each: each.seed),
        f"{statistics.mean(each.mpjpe_mm for each in chosen):.1f}",
        f"{share:.2f}",
        f"{statistics.mean(each.cpu_s for each in chosen):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _spread(chosen: Sequence[Result], group: Callable[[Result], object]) -> str:
    """Return the standard deviation of the groups' mean gains, or a dash for a single group."""
    gains: dict[object, list[float]] = {}
    for each in chosen:
        gains.setdefault(group(each), []).append(each.gain)
    means = [statistics.mean(group_gains) for group_gains in gains.values()]
    return f"{statistics.stdev(means):.2f}" if len(means) > 1 else "-"


if __name__ == "__main__":
    main()
