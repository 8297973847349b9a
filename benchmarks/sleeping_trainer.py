"""A trainer that sleeps for `seconds=` and notes when it ends, for slurm_makespan.py."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

overrides = dict(argument.split("=", 1) for argument in sys.argv[1:])
time.sleep(float(overrides["seconds"]))
with Path(os.environ["STAMPS"], "scenes").open("a", encoding="utf-8") as stream:
    stream.write(f"{time.time()}\n")
