"""Checks on a compute node what workers need: `--in-job probe PLAN` in the Slurm script.

Then it compiles the rasterizer there, before any scene's time begins. Writes a report in which each
step is `ok` or the error that ended the check. Imports of the project happen inside the steps, so
that one that fails is reported too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STEPS = ("tmpdir", "import", "results", "scheduler", "gpu")
CONNECT_S = 15
COMPILE_TIMEOUT_S = 120
OK = "ok"


def report_file(state_root: Path, plan_id: str) -> Path:
    """Return the file of a plan's report.

    The flow creates it, empty, before the job: a new file would be seen late on NFS.
    """
    return state_root / "dask" / plan_id / "probe.json"


def main(argv: list[str]) -> int:
    """Take the steps in order up to the first failure; return exit status 0 if all succeed."""
    plan_file = Path(argv[0])
    report = {"node": os.environ.get("SLURMD_NODENAME", ""), "python": sys.executable}
    steps: dict[str, Callable[[Path], Any]] = {
        "tmpdir": _write_temporary,
        "import": _import_worker,
        "results": _write_result,
        "scheduler": _connect,
        "gpu": _prepare_gpu,
    }
    for name in STEPS:
        report[name] = _outcome(steps[name], plan_file)
        if report[name] != OK:
            break
    else:
        _compile_rasterizer(plan_file)
    is_reported = _write_report(plan_file, report)
    return 0 if is_reported and report.get(STEPS[-1]) == OK else 1


def _write_report(plan_file: Path, report: Mapping[str, str]) -> bool:
    """Write the report, in place: a file that replaces it would be seen late on NFS.

    Where the flow's folder is gone or can't be written, print it instead and return False.
    """
    try:
        file = report_file(plan_file.parent.parent, plan_file.stem)
        file.write_text(json.dumps(report), encoding="utf-8")
    except OSError as error:
        said = "; ".join(f"{key}: {value}" for key, value in report.items())
        print(f"probe: its report can't be written: {error}; {said}", file=sys.stderr, flush=True)
        return False
    return True


def _outcome(step: Callable[[Path], Any], plan_file: Path) -> str:
    try:
        step(plan_file)
    except Exception as error:  # noqa: BLE001 - any error belongs in the report
        return f"{type(error).__name__}: {error}"
    return OK


def _write_temporary(_: Path) -> None:
    """Write to the folder that the script or the user's environment names for temporary files.

    Python itself would silently take another one; the commands of a script do not.
    """
    if folder := os.environ.get("TMPDIR"):
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")


def _import_worker(_: Path) -> None:
    import flows.slurm.dask_worker  # noqa: F401


def _write_result(plan_file: Path) -> None:
    root = _plan(plan_file).roots.results_root
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root) as file:
        file.write(b"probe")


def _connect(plan_file: Path) -> None:
    from flows.adapters.dask_adapter import shake_hands
    from flows.slurm import connection

    scheduler = connection.read(_plan(plan_file))
    asyncio.run(shake_hands(scheduler.address, scheduler.security, CONNECT_S))


def _compile_rasterizer(plan_file: Path) -> None:
    from training.execution.prepare_rasterizer import compile_rasterizer

    compile_rasterizer(_plan(plan_file), COMPILE_TIMEOUT_S)


def _prepare_gpu(plan_file: Path) -> None:
    """Check, where scenes will have GPUs, that their trainer can be compiled for them, and do it.

    This job has no GPU itself: it compiles where TORCH_CUDA_ARCH_LIST names their kind.
    """
    from training.execution.prepare_gpu import prepare_gpu
    from training.jobs.sbatch_commands import asks_for_gpus

    plan = _plan(plan_file)
    if asks_for_gpus(plan):
        prepare_gpu(plan)


def _plan(plan_file: Path) -> Any:
    from training.plan.experiments import read_plan

    return read_plan(plan_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
