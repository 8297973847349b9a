"""A private Slurm for measurements; its commands are counted."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import CHECKOUT
from benchmarks.subject import UnavailableError

QUERIES = ("squeue", "sacct", "scontrol", "sinfo")
COUNTED = (*QUERIES, "sbatch", "scancel", "srun")
OUTPUTS = CHECKOUT / "outputs"
"""Below the checkout, as users' files are, where every node of a cluster would see them."""


@dataclass(frozen=True)
class Lab:
    """A running private Slurm, and what makes a process use it."""

    cluster: Any
    environment: dict[str, str]

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Leave no job to what is measured next: wait for them, after a failure end them."""
        try:
            yield
        except Exception:
            self.cluster.cancel_all()
            self._wait_empty()
            raise
        self._wait_empty()

    def _wait_empty(self) -> None:
        try:
            self.cluster.wait_empty()
        except TimeoutError as error:
            raise UnavailableError(str(error)) from error


@contextmanager
def private_slurm() -> Iterator[Lab]:
    """Start a private Slurm, end it afterwards; raises UnavailableError where it can't run."""
    sys.path.append(str(CHECKOUT / "tests" / "slurm"))
    import private_slurm as slurm  # type: ignore[import-not-found,unused-ignore]

    if lacks := slurm.missing(accounting=False):
        raise UnavailableError(lacks)
    folder = slurm.default_folder(f"bench-{os.getpid()}")
    cluster = slurm.up(folder, accounting=False, owned=True)
    try:
        with tempfile.TemporaryDirectory() as shims:
            _write_counters(Path(shims), cluster.environment["SLURM_CONF"])
            path = f"{shims}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            yield Lab(cluster, {**_clean(), **cluster.environment, "PATH": path})
    finally:
        slurm.down(folder)


def _clean() -> dict[str, str]:
    """Return this environment without what a job or the user's Slurm and Prefect left there."""
    left = ("SLURM", "SBATCH_", "PREFECT_", "TS_")
    return {key: value for key, value in os.environ.items() if not key.startswith(left)}


def _write_counters(folder: Path, conf: str) -> None:
    """Write a program for each Slurm command that notes its name in `STAMPS`, then runs it.

    It names the cluster, too: Snakemake removes Slurm's variables from its jobs, since a cluster's
    nodes have their configuration in /etc.
    """
    for name in COUNTED:
        program = folder / name
        real = shutil.which(name) or name
        count, run = f'echo {name} >> "$STAMPS/calls"', f'exec {real} "$@"'
        program.write_text(f"#!/bin/sh\n{count}\nexport SLURM_CONF={conf}\n{run}\n")
        program.chmod(0o755)


@contextmanager
def stamps_folder() -> Iterator[Path]:
    """Make a folder for a measurement's stamps and files."""
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=OUTPUTS, prefix="bench_", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)
