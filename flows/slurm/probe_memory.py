"""Remember for a day that a probe has passed, by everything that its outcome depends on.

One file for each passed probe below the state root; a node that can't start a worker removes it.
Its name is made before the probe: what is edited or installed while one waits has not been probed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from preprocess.json_file import read_json
from preprocess.roots import CHECKOUT
from training.configuration.code_version import checkout_content
from training.jobs.sbatch_commands import slurm_of
from training.plan.model import Plan
from training.system.atomic_write import write_atomically

VALID_S = 24 * 3600.0
FOLDER = "probes"
PACKAGES = ("flows", "preprocess", "training")
DECISIVE_VARIABLES = re.compile(
    r"(\w*PATH|LD_\w+|PYTHON\w*|VIRTUAL_ENV|CONDA_\w+|LOADEDMODULES|TMPDIR|HOME|SLURM_CONF"
    r"|TORCH_\w+|CUDA_\w+|NUMBA_\w+)$"
)
"""Variables that decide which programs a job finds, and with which modules."""


def file_of(plan: Plan, address: str) -> Path:
    """Return the file of a passed probe, for a plan and the scheduler's address as all is now."""
    text = json.dumps(_dependencies(plan, address), sort_keys=True)
    name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
    return plan.roots.state_root / FOLDER / f"{name}.json"


def is_remembered(file: Path) -> bool:
    """Return whether the probe of a file has passed within a day."""
    try:
        passed_at = read_json(file)["passed_at"]
        return bool(0 <= time.time() - passed_at < VALID_S)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return False


def remember(file: Path) -> None:
    """Remember that a probe has passed, and forget those of more than a day ago."""
    with contextlib.suppress(OSError):  # then the next flow probes a node once more
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in file.parent.glob("*.json"):
            if time.time() - old.stat().st_mtime > VALID_S:
                old.unlink(missing_ok=True)
        write_atomically(file, json.dumps({"passed_at": time.time()}))


def forget(file: Path) -> None:
    """Have the next flow probe a node."""
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def _dependencies(plan: Plan, address: str) -> dict[str, Any]:
    """Return what the outcome of a probe depends on, as far as it can be known here."""
    slurm = slurm_of(plan)
    return {
        "address": address,
        "script": slurm.script_text,
        "options": [slurm.site_options, slurm.flag_options, slurm.scene_options],
        "results": str(plan.roots.results_root),
        "trainer": plan.scenes[0].command[:2] if plan.scenes else (),
        "device": str(plan.scenes[0].configuration.get("device")) if plan.scenes else "",
        "interpreter": [sys.executable, sys.version, _packages_changed_at()],
        "project": [str(CHECKOUT), _project_content()],
        "variables": {
            name: value for name, value in os.environ.items() if DECISIVE_VARIABLES.match(name)
        },
    }


def _packages_changed_at() -> int:
    """Return when a package was last installed or removed, in ns."""
    try:
        return Path(sysconfig.get_path("purelib")).stat().st_mtime_ns
    except OSError:
        return 0


def _project_content() -> str:
    try:
        return checkout_content(PACKAGES)
    except OSError:  # edited at this moment: no probe has passed with this
        return str(time.time())
