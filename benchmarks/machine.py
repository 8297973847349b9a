"""Say where and with what something is measured: machine, load, versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.peers import version_of
from preprocess.faults import counted

PACKAGES = {
    "ours beside": ("prefect", "prefect-dask", "distributed", "dask-jobqueue", "hydra-core"),
    "trainer": ("torch", "numba", "gsplat"),
    "peers": (
        "submitit",
        "hydra-submitit-launcher",
        "snakemake",
        "snakemake-executor-plugin-slurm",
        "executorlib",
    ),
}


def describe(size: str, rounds: int, load: float, took_s: float) -> dict[str, str]:
    """Return what the page says about machine and versions; `load` is that before the start."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    minutes = counted(max(1, round(took_s / 60)), "minute")
    asked = f"size {size}, {counted(rounds, 'round')}, in {minutes}"
    found = {
        "measured": f"{time.strftime('%Y-%m-%d')}, {asked}",
        "machine": f"{cores} cores of {_processor()}, {memory:.0f} GB; load {load:.1f} at first",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Slurm": _slurm(),
    }
    return found | {title: _versions(names) for title, names in PACKAGES.items()}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _slurm() -> str:
    daemon = shutil.which("slurmctld", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if not daemon:
        return "none"
    done = subprocess.run([daemon, "-V"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("slurm-wlm ") or "unknown"


def _versions(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {version_of(name)}" for name in names)
