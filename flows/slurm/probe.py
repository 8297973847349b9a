"""Proves on a compute node what workers need: `--in-job probe PLAN` in the Slurm script.

Steps are reported one by one, so that each failing alone has a name.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ("import", "results", "scheduler")
CONNECT_S = 15
OK = "ok"


def report_file(state_root: Path, plan_id: str) -> Path:
    """Where the probe of a plan reports; made beforehand, since NFS hides new files for a while."""
    return state_root / "dask" / plan_id / "probe.json"


def main(argv: list[str]) -> int:
    """Take the steps in order; exit status 0 only if all succeed."""
    plan_file = Path(argv[0])
    report = {"node": os.environ.get("SLURMD_NODENAME", ""), "python": sys.executable}
    steps: dict[str, Callable[[Path], Any]] = {
        "import": _import_worker,
        "results": _write_result,
        "scheduler": _connect,
    }
    for name in STEPS:
        report[name] = _outcome(steps[name], plan_file)
        if report[name] != OK:
            break
    # In place: a file that is replaced would be seen later on NFS.
    file = report_file(plan_file.parent.parent, plan_file.stem)
    file.write_text(json.dumps(report), encoding="utf-8")
    return 0 if report.get(STEPS[-1]) == OK else 1


def _outcome(step: Callable[[Path], Any], plan_file: Path) -> str:
    try:
        step(plan_file)
    except Exception as error:  # noqa: BLE001 - whatever it is, the flow's user is told
        return f"{type(error).__name__}: {error}"
    return OK


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

    link = connection.read(_plan(plan_file))
    asyncio.run(shake_hands(link.address, link.security, CONNECT_S))


def _plan(plan_file: Path) -> Any:
    from training.plan.model import Plan

    return Plan.model_validate_json(plan_file.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
