"""Run a soak in one way: start the command, again and again, until every scene is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.soak.injector import Injector
from tests.faults.soak.verdict import complaints, growth, judge, read_log

CHECKOUT = Path(__file__).resolve().parents[3]
TRAINER = Path(__file__).with_name("trainer.py")
EXP_NAME = "soak"
SAMPLE_S = 2.0
GONE_S = 60.0
"""Nothing of ours is left so long after the last run's end."""
SCRIPT = """#!/bin/bash
#SBATCH --time=1:00:00 --cpus-per-task=1 --mem=300M
exec python training/run.py "$@"
"""


@dataclass(frozen=True)
class Size:
    """How much a soak does."""

    scenes: int
    seconds: float
    """How long a scene trains."""
    at_once: int
    every_s: float
    """Mean seconds between two faults."""
    seed: int
    most_runs: int


@dataclass
class Soak:
    """One soak, and what was seen of it."""

    way: str
    lab: Any
    cluster: Any
    size: Size
    runs: int = 0
    statuses: list[int] = field(default_factory=list)
    memory_mb: list[list[float]] = field(default_factory=list)
    """Resident memory of the flow's process in each run."""

    @property
    def log_folder(self) -> Path:
        return self.lab.root / "log"

    @property
    def names(self) -> list[str]:
        return [f"s_{number:05d}" for number in range(self.size.scenes)]

    def prepare(self) -> None:
        """Write scenes and the Slurm script."""
        self.log_folder.mkdir()
        told = {"log_folder": str(self.log_folder), "seconds": self.size.seconds}
        for name in self.names:
            self.lab.add_scene(name, **told)
        (self.lab.root / "site.slurm").write_text(SCRIPT, encoding="utf-8")

    def command(self) -> list[str]:
        """Return the command line that a user would type."""
        own = ["--exp-name", EXP_NAME, "--run-all", "--scenes-dir", str(self.lab.scenes_dir)]
        own += ["--train-script", str(TRAINER), "--kill-grace", "1", "--max-retries", "5"]
        own += ["--slurm.slurm-script", str(self.lab.root / "site.slurm")]
        own += ["--slurm.array-parallelism", str(self.size.at_once)]
        if self.way == "array":
            return [sys.executable, "training/run.py", "--submit", "--yes", *own]
        many = ["--cluster", "slurm", "--slurm.scenes-per-job", "50"]
        return [sys.executable, "-m", "flows.train", *many, *own]

    def not_done(self) -> list[str]:
        """Return the scenes that their records do not call done."""
        return [name for name in self.names if not self._is_done(name)]

    def _is_done(self, name: str) -> bool:
        path = self.lab.output(name, EXP_NAME) / "run.json"
        return path.exists() and json.loads(path.read_text(encoding="utf-8"))["status"] == "done"

    def run_until_done(self, injector: Injector) -> None:
        """Run the command until all is done, or as often as the size allows."""
        with injector.running():
            while self.not_done() and self.runs < self.size.most_runs:
                if self.runs >= self.size.most_runs // 2:
                    injector.pause()  # what is left now has had its faults
                self.runs += 1
                self.statuses.append(self._run_once(injector))
                print(f"{self.way}: run {self.runs}: {len(self.not_done())} left", flush=True)

    def _run_once(self, injector: Injector) -> int:
        environment = {**os.environ, **self.lab.environment}
        path = self.lab.root / f"run{self.runs}.txt"
        samples: list[float] = []
        with path.open("wb") as output:
            process = subprocess.Popen(
                self.command(), cwd=CHECKOUT, env=environment, stdout=output, stderr=output
            )
            self.lab.started.append(process)
            if self.way == "flow":
                injector.flow = psutil.Process(process.pid)
            while process.poll() is None:
                samples += _memory_mb(process.pid)
                time.sleep(SAMPLE_S)
        injector.flow = None
        self.memory_mb.append(samples)
        self._wait_for_jobs()
        return process.returncode

    def _wait_for_jobs(self) -> None:
        while self._jobs():
            time.sleep(SAMPLE_S)

    def _jobs(self) -> bool:
        try:
            return bool(self.cluster.squeue())
        except Exception:  # noqa: BLE001 - the controller is away for a while
            return True

    def left(self) -> list[str]:
        """Return what of ours is still there a minute after the end."""
        end = time.monotonic() + GONE_S
        while (found := [*self.lab.strays(), *self.cluster.squeue()]) and time.monotonic() < end:
            time.sleep(1)
        return [str(each) for each in found]


def soak(way: str, lab: Any, cluster: Any, size: Size) -> dict[str, Any]:
    """Run a soak of `flow` or `array`; return its figures, among them what was not kept."""
    began = time.monotonic()
    one = Soak(way, lab, cluster, size)
    one.prepare()
    injector = Injector(lab, cluster, one.log_folder / "log.jsonl", size.seed, size.every_s)
    one.run_until_done(injector)
    seconds = time.monotonic() - began
    left = one.left()
    trained = judge(read_log(one.log_folder / "log.jsonl"), one.names)
    longest = max(one.memory_mb, key=len, default=[])
    grown = growth(longest) if way == "flow" else 1.0
    return {
        "way": way,
        "scenes": size.scenes,
        "runs": one.runs,
        "statuses": one.statuses,
        "faults": dict(injector.done.most_common()),
        "starts": trained.starts,
        "trained_again": trained.again,
        "most_memory_mb": round(max(longest, default=0)),
        "memory_growth": round(grown, 3),
        "minutes": round(seconds / 60, 1),
        "problems": injector.problems,
        "complaints": complaints(trained, one.not_done(), left, grown),
    }


def _memory_mb(pid: int) -> Iterator[float]:
    try:
        yield psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return


@contextmanager
def on_private_slurm(root: Path) -> Iterator[tuple[Any, Any]]:
    """Start a private Slurm and a lab on it; both end with the block."""
    sys.path += [str(CHECKOUT / "tests"), str(CHECKOUT / "tests" / "slurm")]
    from conftest import lab_in
    from private_slurm import clear, default_folder, down, missing, up

    if lacks := missing(accounting=False):
        raise RuntimeError(lacks)
    folder = default_folder(f"soak-{os.getpid()}")
    cluster = up(folder, accounting=False, owned=True)
    try:
        with lab_in(root) as lab:
            lab.environment |= cluster.environment
            yield lab, cluster
            clear(lab, cluster)
    finally:
        down(folder)
