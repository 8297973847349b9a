"""Refuse a Python that can't run this project, and Ctrl-C while it imports, without a traceback.

It runs before anything else is imported: standard library only, and syntax that old Pythons know.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import TracebackType

from preprocess.faults import FaultsError
from preprocess.roots import is_checkout

OLDEST = (3, 11)
LAUNCHER = ("pydantic", "yaml", "psutil", "hydra", "omegaconf")
"""What `training/run.py` imports. It works without Prefect."""
TRAINER = (*LAUNCHER, "numpy", "PIL", "torch", "roma")
"""What reads scene data as the trainer does."""
OF_A_CHECKOUT = (
    "start the command with the project's own .venv/bin/python, or activate it"
    " (. .venv/bin/activate); `make demo` creates it"
)
OF_AN_INSTALLED_COPY = "install training-scheduler with its packages, by pip without --no-deps"
FLOW = (*LAUNCHER, "httpx", "prefect", "prefect_dask", "distributed", "dask_jobqueue")


def require(packages: tuple[str, ...]) -> None:
    """Exit with status 2 and a line that names the remedy where this Python lacks any of these.

    From here on Ctrl-C while a command's modules are imported ends it without a traceback.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _without_interrupts
    missing = [name for name in packages if find_spec(name) is None]
    if sys.version_info < OLDEST:
        problem = f"is {sys.version.split()[0]}, older than {OLDEST[0]}.{OLDEST[1]}"
    elif missing:
        problem = f"lacks {', '.join(missing)}"
    else:
        return
    remedy = OF_A_CHECKOUT if is_checkout() else OF_AN_INSTALLED_COPY
    sys.stderr.write(f"{sys.executable} {problem}: {remedy}\n")
    sys.exit(FaultsError.exit_status)


def _without_interrupts(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print what ended this process as Python does, but nothing for Ctrl-C.

    Python then ends itself by the signal, which a shell shows as exit status 130.
    """
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
